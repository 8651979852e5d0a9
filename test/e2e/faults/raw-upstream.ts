import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'

/** Faults below HTTP, or of its framing, by the name that stands in the key. */
export const RAW_KEY = /sk-or-v1-raw\.([\w-]+)\.([\w-]+)/

/** What a good answer to the same request is made of. */
export interface GoodAnswer {
  readonly contentType: string
  readonly bytes: Buffer
}

type Play = (response: ServerResponse, good: GoodAnswer, streamed: boolean) => void

const LARGE_BYTES = 10_000_000

const PLAYS: Readonly<Record<string, Play>> = {
  reset: (response) => void (response.socket && resetOf(response)),
  closed: (response) => void response.destroy(),
  'no-http': (response) => void response.socket?.end('220 mail.example ESMTP\r\n'),
  'reset-in-body'(response, { contentType }) {
    response.writeHead(200, { 'content-type': contentType }).write(': hold on\n\n')
    setTimeout(() => resetOf(response), 30)
  },
  empty: (response, { contentType }) =>
    void response.writeHead(200, { 'content-type': contentType }).end(),
  garbage: (response, { contentType }) =>
    void response
      .writeHead(200, { 'content-type': contentType })
      .end(Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 131 + 7) % 256))),
  'half-character': (response, { contentType }) =>
    void response
      .writeHead(200, { 'content-type': contentType })
      .end(Buffer.from([0x22, 0xf0, 0x9f])),
  short(response, { contentType, bytes }) {
    const half = bytes.subarray(0, 20)
    response.writeHead(200, { 'content-type': contentType, 'content-length': bytes.length })
    response.write(half)
    setTimeout(() => response.destroy(), 30)
  },
  gzip: (response, { contentType, bytes }) =>
    void response
      .writeHead(200, { 'content-type': contentType, 'content-encoding': 'gzip' })
      .end(gzipSync(bytes)),
  'broken-gzip': (response, { contentType, bytes }) =>
    void response
      .writeHead(200, { 'content-type': contentType, 'content-encoding': 'gzip' })
      .end(bytes),
  pieces(response, { contentType, bytes }) {
    response.writeHead(200, { 'content-type': contentType })
    for (let i = 0; i < bytes.length; i += 7) response.write(bytes.subarray(i, i + 7))
    response.end()
  },
  large(response, { contentType, bytes }, streamed) {
    response.writeHead(200, { 'content-type': contentType })
    response.end(streamed ? Buffer.concat([largeEvent, bytes]) : Buffer.concat([largeSpace, bytes]))
  },
  'no-blank-line': (response, { contentType, bytes }) =>
    void response
      .writeHead(200, { 'content-type': contentType })
      .end(bytes.subarray(0, bytes.toString('latin1').trimEnd().length)),
  'output-reset'(response, good) {
    writeOutput(response, good)
    setTimeout(() => resetOf(response), 50)
  },
  'output-half-character'(response, good) {
    writeOutput(response, good)
    response.end(Buffer.from('data: {"x":"\u{1F642}').subarray(0, -2))
  },
}

/** Blanks before JSON are JSON. An event that nobody knows is for the client to read. */
const largeSpace = Buffer.alloc(LARGE_BYTES, ' ')
const largeEvent = Buffer.concat([
  Buffer.from(': '),
  Buffer.alloc(LARGE_BYTES, 'x'),
  Buffer.from('\n\n'),
])

function resetOf(response: ServerResponse): void {
  response.socket?.resetAndDestroy()
}

/** The first half of the events, to the end of one. */
function writeOutput(response: ServerResponse, { contentType, bytes }: GoodAnswer): void {
  const text = bytes.toString()
  const half = text.indexOf('\n\n', text.length / 2) + 2
  response.writeHead(200, { 'content-type': contentType })
  response.write(text.slice(0, half))
}

export interface RawUpstream {
  readonly port: number
  /** Inference calls by the key's last part. */
  readonly calls: ReadonlyMap<string, number>
  close(): Promise<void>
}

/** @param goodAnswer to a request as it came, with its path below the API */
export async function startRawUpstream(
  goodAnswer: (path: string, body: string) => Promise<GoodAnswer>,
): Promise<RawUpstream> {
  const calls = new Map<string, number>()
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const [, name = '', cell = ''] = RAW_KEY.exec(request.headers.authorization ?? '') ?? []
    const path = request.url?.replace(/^\/api\/v1/, '') ?? ''
    if (path === '/key') return void response.writeHead(503).end()
    calls.set(cell, (calls.get(cell) ?? 0) + 1)
    const body = Buffer.concat(chunks).toString()
    PLAYS[name]?.(response, await goodAnswer(path, body), body.includes('"stream":true'))
  }
  const server = createServer((request, response) => {
    response.on('error', () => undefined)
    serve(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
