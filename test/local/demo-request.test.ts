import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { demoClient, send } from './demo-request.ts'

let server: Server | null = null
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})

/** A gateway that sends the headers of a stream and then nothing. */
async function silentGateway(): Promise<{ url: string; asked: Promise<void> }> {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    resolve()
  })
  await new Promise<void>((listening) => server?.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, asked }
}

it.each([true, false])(
  'a request that Ctrl-C ends has neither failed nor been answered (streamed: %s)',
  async (streamed) => {
    const { url, asked } = await silentGateway()
    const interruption = new AbortController()
    const sent = send(demoClient(url, 'sy-a-token-of-a-test'), 1, streamed, interruption.signal)
    await asked
    interruption.abort()
    expect(await sent).toBeNull()
  },
)

it('nor has one whose gateway the same Ctrl-C has ended a moment before the signal', async () => {
  const { url, asked } = await silentGateway()
  const interruption = new AbortController()
  const sent = send(demoClient(url, 'sy-a-token-of-a-test'), 1, true, interruption.signal)
  await asked
  server?.closeAllConnections()
  setImmediate(() => interruption.abort())
  expect(await sent).toBeNull()
})

it('a request whose gateway ends by itself has failed', async () => {
  const { url, asked } = await silentGateway()
  const sent = send(demoClient(url, 'sy-a-token-of-a-test'), 1, true, new AbortController().signal)
  await asked
  server?.closeAllConnections()
  expect(await sent).toMatchObject({ outcome: 'failed_before_output' })
})
