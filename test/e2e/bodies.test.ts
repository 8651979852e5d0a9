import { createHash } from 'node:crypto'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MODELS, tokenOf } from '../bench/mix.ts'
import { bundleForDeployment, readDeployment } from '../bench/processes/deployment.ts'
import { peakMemoryMib } from '../bench/processes/process-figures.ts'
import { type OpenScope, openScope } from '../bench/processes/run-scope.ts'
import { startGateway } from '../bench/processes/targets.ts'

/**
 * The Worker as it is deployed, in workerd itself. Wrangler's proxy would stand between, with memory of
 * its own, and would read a body before the Worker does. Counted and not timed: answers, bytes, memory.
 */

const MIB = 1024 * 1024
const BYTES = 6_000_000

interface Received {
  readonly path: string
  readonly sha256: string
}

const received: Received[] = []
let scope: OpenScope
let upstream: Server
let gateway: Awaited<ReturnType<typeof startGateway>>
/** How long upstream takes for a list. */
let listMs = 0

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of message) pieces.push(piece)
  return Buffer.concat(pieces)
}

beforeAll(async () => {
  upstream = createServer(async (request, response) => {
    const path = request.url ?? ''
    received.push({ path, sha256: sha256(await bodyOf(request)) })
    const isList = path.includes('/models')
    response.setHeader('content-type', 'application/json')
    if (isList) response.setHeader('cache-control', 'public, max-age=300')
    setTimeout(() => response.end(isList ? '{"data":[]}' : ANSWER), isList ? listMs : 0)
  })
  await new Promise<void>((resolve) => void upstream.listen(0, '127.0.0.1', resolve))
  const { port } = upstream.address() as AddressInfo
  scope = openScope()
  const [deployment, { source }] = await Promise.all([
    readDeployment(scope),
    bundleForDeployment(scope),
  ])
  gateway = await startGateway(scope, deployment, { port }, { name: 'bodies', source })
})

afterAll(() => {
  upstream?.close()
  scope?.close()
})

const ANSWER = JSON.stringify({
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, cost: 0 },
})

/**
 * Sends a request, and gives its answer's status and text.
 * @param bytes how long the body is to be, if that is not its length
 */
function send(path: string, body: Buffer | null, bytes = body?.length) {
  const sent = httpRequest({
    port: gateway.port,
    host: gateway.host,
    path,
    method: body === null ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${tokenOf(0)}`,
      'content-type': 'application/json',
      ...(bytes === undefined ? {} : { 'content-length': bytes }),
    },
    agent: false,
  })
  const answer = new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
    sent.once('error', reject)
    sent.once('response', (message: IncomingMessage) => {
      bodyOf(message).then(
        (bytes) => resolve({ status: message.statusCode, text: bytes.toString() }),
        reject,
      )
    })
  })
  if (bytes === body?.length) sent.end(body)
  else sent.write(body)
  return { sent, answer }
}

const CHAT = '/api/v1/chat/completions'

const chat = (value: string) =>
  send(CHAT, Buffer.from(`{"model":"${MODELS.small}","messages":[],"a":${value}}`)).answer

const addedMib = async (work: () => Promise<unknown>) => {
  const before = peakMemoryMib(gateway.pid ?? 0)
  await work()
  return peakMemoryMib(gateway.pid ?? 0) - before
}

describe('six megabytes of brackets', () => {
  const nested = '['.repeat(BYTES / 2) + ']'.repeat(BYTES / 2)

  it('are passed on byte for byte, and cost about what a flat body costs', async () => {
    await chat('0')
    const flat = await addedMib(() => chat(`"${'x'.repeat(BYTES)}"`))
    const added = await addedMib(async () =>
      expect(await chat(nested)).toMatchObject({ status: 200 }),
    )
    expect(received.at(-1)?.sha256).toBe(
      sha256(Buffer.from(`{"model":"${MODELS.small}","messages":[],"a":${nested}}`)),
    )
    // To parse them takes 300 MB.
    if (!Number.isNaN(added)) expect(flat + added).toBeLessThan((8 * BYTES) / MIB)
  })

  it.each([
    ['that are not closed', nested.slice(0, -1)],
    ['and one too many', `${nested}]`],
  ])('%s are refused, and go nowhere', async (_, value) => {
    const before = received.length
    const { status, text } = await chat(value)
    expect([status, JSON.parse(text).error.metadata.reason]).toEqual([400, 'invalid_request'])
    expect(received).toHaveLength(before)
  })

  it('that make a body too large are refused before they are read', async () => {
    const { sent, answer } = send(CHAT, Buffer.from('{"a":['), 26 * MIB)
    expect(await answer).toMatchObject({ status: 413 })
    sent.destroy()
  })
})

it('a client that leaves while a list is fetched makes nobody wait: the fetch goes on without it', async () => {
  listMs = 1_000
  const { sent, answer } = send('/api/v1/models?q=left', null)
  answer.catch(() => undefined)
  while (!received.some(({ path }) => path.includes('q=left'))) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  // A reset, which workerd sees at once.
  sent.socket?.resetAndDestroy()
  await answer.catch(() => undefined)
  expect(await send('/api/v1/models?q=left', null).answer).toMatchObject({ status: 200 })
  expect(received.filter(({ path }) => path.includes('q=left'))).toHaveLength(1)
})
