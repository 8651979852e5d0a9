import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, beforeEach } from 'vitest'

/** An upstream that answers every request well and records the requests with their credentials. */
export function useRecorder() {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    request.resume()
    response.setHeader('content-type', 'application/json')
    response.setHeader('set-cookie', '__cf_bm=1; path=/')
    response.setHeader('x-ratelimit-remaining', '9')
    response.setHeader('x-openrouter-cache-status', 'MISS')
    response.setHeader('x-internal-node', 'ord07')
    response.end('{"id":"gen-1","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')
  })
  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  beforeEach(() => {
    requests.length = 0
  })
  afterAll(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  const url = () => {
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('Only within a test')
    return `http://127.0.0.1:${address.port}/api/v1`
  }
  return { requests, url }
}
