//! A measured side: a child process that loads something, says `{"ready": true, …}` and then answers one JSON line per command line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A running side. Dropping it ends the process.
pub(crate) struct Side {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The line the side said when it was ready.
    pub(crate) ready: Value,
}

impl Side {
    /// Starts the process and waits until it is ready.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Side> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}: {}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut side = Side {
            name,
            child,
            input,
            output,
            ready: Value::Null,
        };
        side.ready = side.read_line()?;
        Ok(side)
    }

    /// Sends one command and waits for its answer.
    pub(crate) fn ask(&mut self, command: &Value) -> Result<Value> {
        let input = self.input.as_mut().context("the side was closed")?;
        writeln!(input, "{command}")
            .and_then(|()| input.flush())
            .with_context(|| format!("{} has ended", self.name))?;
        self.read_line()
    }

    /// [`Side::ask`], and one number out of the answer.
    pub(crate) fn ask_number(&mut self, command: &Value, field: &str) -> Result<f64> {
        let answer = self.ask(command)?;
        answer[field]
            .as_f64()
            .with_context(|| format!("{}: no {field} in {answer}", self.name))
    }

    /// One number out of what the side said when it was ready.
    pub(crate) fn ready_number(&self, field: &str) -> Result<f64> {
        self.ready[field]
            .as_f64()
            .with_context(|| format!("{}: no {field} in {}", self.name, self.ready))
    }

    fn read_line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("{} ended without an answer: {status}", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{} said: {line}", self.name))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.input.take());
        if self.child.wait().is_err() {
            let _ = self.child.kill();
        }
    }
}
