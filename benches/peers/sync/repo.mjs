// Measures automerge-repo with its WebSocket server, for `hearth-benches sync`: repo.mjs '{"parts": […], …}' says one line of
// JSON. The server runs in a process of its own and keeps documents in files; its clients run here.

import { fork } from "node:child_process"
import { createHash } from "node:crypto"
import { createRequire } from "node:module"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { fileURLToPath } from "node:url"
import { Repo } from "@automerge/automerge-repo"
import { WebSocketClientAdapter, WebSocketServerAdapter } from "@automerge/automerge-repo-network-websocket"
import { NodeFSStorageAdapter } from "@automerge/automerge-repo-storage-nodefs"
import WebSocket, { WebSocketServer } from "ws"

const pause = (ms) => new Promise((done) => setTimeout(done, ms))

// ---- the server's process

function serve(folder) {
    const traffic = { in: 0, out: 0, messages_in: 0, messages_out: 0 }
    const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" })
    sockets.on("connection", (socket) => {
        socket._socket.setNoDelay(true)
        socket.on("message", (data) => {
            traffic.in += data.byteLength
            traffic.messages_in += 1
        })
        const send = socket.send.bind(socket)
        socket.send = (data, ...rest) => {
            traffic.out += data.byteLength
            traffic.messages_out += 1
            return send(data, ...rest)
        }
    })
    const repo = new Repo({
        peerId: "server",
        network: [new WebSocketServerAdapter(sockets)],
        storage: new NodeFSStorageAdapter(folder),
        sharePolicy: async () => false,
    })
    process.on("message", (what) => {
        if (what === "reset") Object.keys(traffic).forEach((key) => (traffic[key] = 0))
        const ready = Object.values(repo.handles).filter((handle) => handle.isReady()).length
        process.send({ ...traffic, documents: ready, rss: process.memoryUsage().rss, cpu: process.cpuUsage() })
    })
    process.on("disconnect", () => process.exit(0))
    sockets.on("listening", async () => {
        // Whoever connects before the adapter listens for connections, beside us, is never answered.
        while (sockets.listenerCount("connection") < 2) await pause(5)
        process.send({ port: sockets.address().port })
    })
}

class Server {
    static async start() {
        const server = new Server()
        server.folder = mkdtempSync(join(tmpdir(), "hearth-bench-repo"))
        server.child = fork(fileURLToPath(import.meta.url), ["serve", server.folder])
        server.child.once("exit", () => {
            if (server.folder) throw new Error("the server has ended")
        })
        server.port = (await server.heard()).port
        server.url = `ws://127.0.0.1:${server.port}`
        return server
    }

    heard() {
        return new Promise((done) => this.child.once("message", done))
    }

    async ask(what) {
        const heard = this.heard()
        this.child.send(what)
        return await heard
    }

    // Until nothing has passed for a while.
    async quiet(ms = 1500) {
        let last = await this.ask("look")
        for (;;) {
            await pause(ms)
            const now = await this.ask("look")
            if (now.messages_in === last.messages_in && now.messages_out === last.messages_out) return now
            last = now
        }
    }

    async holds(documents) {
        for (let waited = 0; waited < 600; waited += 1) {
            if ((await this.ask("look")).documents >= documents) return
            await pause(500)
        }
        throw new Error("the server never had all documents")
    }

    stop() {
        const { folder } = this
        this.folder = undefined
        this.child.kill()
        rmSync(folder, { recursive: true, force: true })
    }
}

// ---- its clients

function client(server, name) {
    const network = new WebSocketClientAdapter(server.url, 3_600_000)
    return { network, repo: new Repo({ peerId: name, network: [network], sharePolicy: async () => true }) }
}

const hash = (text) => createHash("sha256").update(text).digest("base64")

// As large as one of ours: a hundred characters and one source.
const memory = (number) => ({
    i: hash(`i${number}`).slice(0, 22),
    t: `Marilo from Lisbon repaired the bicycle because the old one broke; it was in ${1990 + (number % 36)}, no. ${number}.`,
    k: 3,
    c: 0.9,
    a: 1_800_000_000_000 + number * 60_000,
    m: 1_800_000_000_000 + number * 60_000,
    o: 1,
    p: false,
    r: { [hash(`m${number}`).slice(0, 22)]: hash(`c${number}`) + hash(`t${number}`) },
})

async function connected(repo) {
    const end = performance.now() + 20_000
    await Promise.race([repo.networkSubsystem.whenReady(), pause(20_000)])
    while (repo.peers.length === 0) {
        if (performance.now() > end) throw new Error("a client and the server never met")
        await pause(5)
    }
    // What is made before both ends have met each other isn't always told.
    await pause(200)
}

async function reconnect(documents) {
    const server = await Server.start()
    const { repo, network } = client(server, "client")
    await connected(repo)
    for (let number = 0; number < documents; number += 1) repo.create(memory(number))
    await server.holds(documents)
    await server.quiet()
    network.disconnect()
    await pause(500)
    await server.ask("reset")
    network.connect("client", {})
    const cost = await server.quiet(3000)
    server.stop()
    // One round trip for join and peer; then every document has messages of its own, all of them side by side.
    const chain = 1 + (cost.messages_in + cost.messages_out - 2) / documents / 2
    return { bytes: cost.in + cost.out, up: cost.in, down: cost.out, messages: cost.messages_in + cost.messages_out,
        round_trips: chain }
}

async function wire() {
    const server = await Server.start()
    const a = client(server, "a")
    const b = client(server, "b")
    await connected(a.repo)
    await connected(b.repo)
    const handle = a.repo.create(memory(1))
    const other = await b.repo.find(handle.url)
    await other.whenReady()
    await server.quiet()
    // From one device to the server, and what that answers; the other device's share is left out.
    b.network.disconnect()
    await server.quiet()
    const cost = async (edit) => {
        await server.ask("reset")
        handle.change(edit)
        const found = await server.quiet()
        return found.in + found.out
    }
    await cost((memory) => (memory.c = 0.8))
    const pin = await cost((memory) => (memory.p = true))
    const correction = await cost((memory) => {
        memory.t = "Tesaben from Ghent no longer likes the espresso machine and would do it again; it was in 2004."
        memory.m += 1000
    })
    server.stop()
    return { pin, correction }
}

async function live(accounts, rate, seconds) {
    const server = await Server.start()
    const times = []
    const devices = []
    for (let account = 0; account < accounts; account += 1) {
        const pair = [client(server, `a${account}`), client(server, `b${account}`)]
        for (const { repo } of pair) await connected(repo)
        const handle = pair[0].repo.create({ ...memory(account), edits: ["", ""] })
        const other = await pair[1].repo.find(handle.url)
        await other.whenReady()
        // Each side writes a field of its own, which begins with a number: who has seen one has seen those before it.
        const made = [[], []]
        const sides = [handle, other].map((side, own) => {
            let seen = 0
            side.on("change", ({ doc }) => {
                const now = performance.now()
                const upto = Number.parseInt(doc.edits[1 - own], 10) || 0
                for (; seen < upto; seen += 1) times.push(now - made[1 - own][seen])
            })
            return { handle: side, own, made: made[own] }
        })
        devices.push(...sides)
    }
    await server.quiet()
    const before = await server.ask("reset")
    const every = (devices.length / rate) * 1000
    const begin = performance.now() + 100
    let pushed = 0
    const next = devices.map((_, number) => begin + (every * number) / devices.length)
    await new Promise((done) => {
        const turn = () => {
            const now = performance.now()
            if (now > begin + seconds * 1000) return done()
            devices.forEach(({ handle, own, made }, number) => {
                while (next[number] <= now) {
                    next[number] += every
                    pushed += 1
                    const text = `${made.length + 1} ${hash(String(pushed))}${hash(String(number))}`
                    made.push(performance.now())
                    handle.change((memory) => (memory.edits[own] = text))
                }
            })
            setTimeout(turn, 1)
        }
        turn()
    })
    const lasted = (performance.now() - begin) / 1000
    // A server that falls behind is given time to catch up.
    await pause(10_000)
    const after = await server.ask("look")
    server.stop()
    times.sort((x, y) => x - y)
    const at = (part) => times[Math.min(times.length - 1, Math.ceil(times.length * part) - 1)]
    const cpu = (after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system) / 1e6
    return { p50: at(0.5), p99: at(0.99), pushed, rate: pushed / lasted, arrived: times.length,
        server_cpu_s_per_1000: (cpu / pushed) * 1000 }
}

async function idle(connections) {
    const server = await Server.start()
    const before = (await server.ask("look")).rss
    const sockets = []
    const require = createRequire(import.meta.url)
    const { encode } = require(require.resolve("cbor-x", { paths: [require.resolve("@automerge/automerge-repo")] }))
    for (let number = 0; number < connections; number += 1) {
        const socket = new WebSocket(server.url)
        await new Promise((done, failed) => {
            socket.on("open", done)
            socket.on("error", failed)
        })
        socket.send(encode({ type: "join", senderId: `idle${number}`, peerMetadata: {}, supportedProtocolVersions: ["1"] }))
        sockets.push(socket)
    }
    await pause(5000)
    const after = (await server.ask("look")).rss
    sockets.forEach((socket) => socket.terminate())
    server.stop()
    return { connections, kib_each: (after - before) / connections / 1024 }
}

async function joining(documents) {
    const server = await Server.start()
    const author = client(server, "author")
    await connected(author.repo)
    const urls = []
    for (let number = 0; number < documents; number += 1) urls.push(author.repo.create(memory(number)).url)
    await server.holds(documents)
    await server.quiet()
    author.network.disconnect()
    const begin = performance.now()
    const { repo } = client(server, "new")
    await connected(repo)
    await Promise.all(urls.map(async (url) => (await repo.find(url)).whenReady()))
    const seconds = (performance.now() - begin) / 1000
    server.stop()
    return { documents, seconds }
}

// Now and then a client and the server don't meet: then once more, from the beginning.
async function again(part) {
    for (let left = 3; ; left -= 1) {
        try {
            return await part()
        } catch (error) {
            console.error(`automerge-repo: ${error.message}`)
            if (left === 0) return undefined
        }
    }
}

async function main(wanted) {
    const at = new URL("node_modules/@automerge/automerge-repo/package.json", import.meta.url)
    const found = { version: JSON.parse(readFileSync(at)).version, node: process.version }
    const parts = new Set(wanted.parts)
    if (parts.has("reconnect")) {
        found.reconnect = {}
        for (const documents of wanted.documents) {
            found.reconnect[documents] = await again(() => reconnect(documents))
        }
    }
    if (parts.has("wire")) found.wire = await again(wire)
    if (parts.has("live")) found.live = await again(() => live(wanted.accounts, wanted.rate, wanted.seconds))
    if (parts.has("idle")) found.idle = await again(() => idle(wanted.idle))
    if (parts.has("engines")) found.join = await again(() => joining(wanted.memories))
    console.log(JSON.stringify(found))
    process.exit(0)
}

if (process.argv[2] === "serve") serve(process.argv[3])
else await main(JSON.parse(process.argv[2]))
