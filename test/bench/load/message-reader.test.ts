import { describe, expect, it } from 'vitest'
import { MessageReader } from './message-reader.ts'

const MESSAGES = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n',
  'HTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-trailer: 1\r\n\r\n',
]

/** What was read of bytes that came in pieces of some size. */
function readIn(size: number): string[] {
  const received: string[] = []
  let body = ''
  const reader = new MessageReader({
    onHead: (head) => received.push(head.split('\r\n')[0] ?? ''),
    onBody: (bytes) => {
      body += bytes.toString()
    },
    onEnd: () => {
      received.push(body)
      body = ''
    },
  })
  const bytes = Buffer.from(MESSAGES.join(''))
  for (let i = 0; i < bytes.length; i += size) reader.push(bytes.subarray(i, i + size))
  return received
}

describe('a reader of messages', () => {
  it.each([1, 2, 3, 7, 64, 10_000])('reads them in pieces of %i bytes', (size) => {
    expect(readIn(size)).toEqual([
      ...['HTTP/1.1 200 OK', 'hello'],
      ...['HTTP/1.1 200 OK', 'hello, world'],
      ...['HTTP/1.1 204 No Content', ''],
      ...['HTTP/1.1 200 OK', ''],
    ])
  })
})
