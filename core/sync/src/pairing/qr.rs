//! QR codes: for a terminal, and as image files.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code, as the standard (ISO/IEC 18004) asks for.
const QUIET: usize = 4;

/// A text is too long for a QR code (above about 3,000 characters of `HEARTH:` codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub struct TooLong;

/// How a terminal shows a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// With colours of its own, black on white: right on every background.
    Colours,
    /// In the terminal's own colours, which are light on dark.
    DarkBackground,
    /// In the terminal's own colours, which are dark on light.
    LightBackground,
}

/// A QR code with its quiet zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Qr {
    /// Modules a side, with the quiet zone.
    side: usize,
    dark: Vec<bool>,
}

impl std::fmt::Debug for Qr {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Qr({})", self.side)
    }
}

impl Qr {
    /// The code of a text; a seventh of it may be damaged.
    pub fn new(text: &str) -> Result<Self, TooLong> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|_| TooLong)?;
        let width = code.width();
        let side = width + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for y in 0..width {
            for x in 0..width {
                dark[(y + QUIET) * side + x + QUIET] = code[(x, y)] == Color::Dark;
            }
        }
        Ok(Self { side, dark })
    }

    /// Modules a side, with the quiet zone: the columns that a terminal needs, and twice the lines.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Whether a module is dark; outside none is.
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        x < self.side && self.dark.get(y * self.side + x).copied().unwrap_or(false)
    }

    /// Lines of half blocks, each for two rows of modules, every line with its end.
    pub fn terminal(&self, paint: Paint) -> String {
        let mut text = String::new();
        for y in (0..self.side).step_by(2) {
            if paint == Paint::Colours {
                text.push_str("\x1b[38;5;16;48;5;231m");
            }
            for x in 0..self.side {
                let (upper, lower) = (self.is_dark(x, y), self.is_dark(x, y + 1));
                // Where the ink is light, what is dark stays empty.
                let ink_is_dark = paint != Paint::DarkBackground;
                text.push(match (upper == ink_is_dark, lower == ink_is_dark) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            if paint == Paint::Colours {
                text.push_str("\x1b[0m");
            }
            text.push('\n');
        }
        text
    }

    /// An SVG image, black on white, of one unit a module.
    pub fn svg(&self) -> String {
        let side = self.side;
        let mut path = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
        )
    }

    /// A PNG image (ISO/IEC 15948) in one bit of grey, `scale` pixels a module (from 1 to 64).
    pub fn png(&self, scale: usize) -> Vec<u8> {
        let scale = scale.clamp(1, 64);
        let pixels = self.side * scale;
        let mut rows = Vec::with_capacity(pixels * (pixels / 8 + 2));
        for y in 0..pixels {
            // No filter; then a bit a pixel, 1 for white.
            rows.push(0);
            for start in (0..pixels).step_by(8) {
                let byte = (0..8).fold(0u8, |byte, bit| {
                    let x = start + bit;
                    let white = x < pixels && !self.is_dark(x / scale, y / scale);
                    byte | (u8::from(white) << (7 - bit))
                });
                rows.push(byte);
            }
        }
        let mut header = Vec::with_capacity(13);
        header.extend_from_slice(&(pixels as u32).to_be_bytes());
        header.extend_from_slice(&(pixels as u32).to_be_bytes());
        header.extend_from_slice(&[1, 0, 0, 0, 0]);
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing into memory doesn't fail.
        let packed = packer
            .write_all(&rows)
            .and_then(|()| packer.finish())
            .unwrap_or_default();
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut file, *b"IHDR", &header);
        chunk(&mut file, *b"IDAT", &packed);
        chunk(&mut file, *b"IEND", &[]);
        file
    }
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    file.extend_from_slice(&name);
    file.extend_from_slice(data);
    let mut check = Crc::new();
    check.update(&name);
    check.update(data);
    file.extend_from_slice(&check.sum().to_be_bytes());
}
