import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ConnectionCut } from './delivery.ts'
import { createSimulator } from './simulator.ts'

const KEEP_ALIVE_MS = 10 * 60_000

/**
 * The same simulator behind Node's HTTP server instead of a Worker, for tests of the connection.
 * workerd notices that a caller has left only when it writes, so it never records the abort of a
 * silent request. It also cannot hang up without an answer. Node can do both.
 *
 * @param port 0 takes a free port
 */
export async function listen(port = 0): Promise<{ url: URL; close(): Promise<void> }> {
  const simulator = createSimulator()
  const server = createServer((incoming, outgoing) => {
    serve(simulator, incoming, outgoing).catch((error: unknown) => {
      if (error instanceof ConnectionCut || outgoing.headersSent) outgoing.destroy()
      else outgoing.writeHead(500).end(String(error))
    })
  })
  // A caller's next request must not meet the end of a connection that was kept for it.
  server.keepAliveTimeout = KEEP_ALIVE_MS
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: new URL(`http://127.0.0.1:${isInet(address) ? address.port : port}`),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const isInet = (address: AddressInfo | string | null): address is AddressInfo =>
  typeof address === 'object' && address !== null

async function serve(
  simulator: ReturnType<typeof createSimulator>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  outgoing.on('close', () => {
    if (!outgoing.writableFinished) gone.abort()
  })
  const response = await simulator.fetch(await requestOf(incoming, gone.signal))
  outgoing.writeHead(response.status, [...response.headers].flat())
  outgoing.flushHeaders()
  const reader = response.body?.getReader()
  // A body that the simulator itself broke off rejects `cancel`. This error can be ignored.
  gone.signal.addEventListener('abort', () => reader?.cancel().catch(() => undefined))
  for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
    if (!outgoing.write(part.value)) await drained(outgoing)
  }
  outgoing.end()
}

async function requestOf(incoming: IncomingMessage, signal: AbortSignal): Promise<Request> {
  const headers = new Headers()
  for (const [name, values] of Object.entries(incoming.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value)
  }
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk)
  const method = incoming.method ?? 'GET'
  const url = `http://${incoming.headers.host ?? 'localhost'}${incoming.url ?? '/'}`
  const bodiless = method === 'GET' || method === 'HEAD'
  return new Request(url, {
    method,
    headers,
    signal,
    body: bodiless ? null : Buffer.concat(chunks),
  })
}

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    outgoing.once('drain', resolve)
    outgoing.once('close', resolve)
  })
}
