import { describe, expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import { createSecretRedaction } from '../../../src/gateway/answers/secret-redaction.ts'
import { redactErrorEvents } from '../../../src/gateway/attempts/error-events.ts'
import type { ApiShape } from '../../../src/openrouter/shapes/api-shape.ts'
import { chatCompletions } from '../../../src/openrouter/shapes/chat-completions.ts'
import { messages } from '../../../src/openrouter/shapes/messages.ts'
import { responses } from '../../../src/openrouter/shapes/responses.ts'

const SECRET = 'sk-or-v1-0123456789abcdef'
const redaction = createSecretRedaction([{ secret: SECRET, keyId: keyId('alpha') }])
const encoder = new TextEncoder()

/** The stream as a client gets it, if upstream sends it in these pieces. */
function through(shape: ApiShape, pieces: readonly Uint8Array[]) {
  const filter = redactErrorEvents(shape, redaction)
  const out = [...pieces.map((piece) => filter.push(piece)), filter.end()]
  return new TextDecoder().decode(Uint8Array.from(out.flatMap((bytes) => [...bytes])))
}

const ANSWER = 'data: {"choices":[{"index":0,"delta":{"content":"über s sk"}}]}\n\n'
const PROVIDER = `{"code":502,"message":"No: \\u0073k-or-v1-0123456789abcdef, ${SECRET}"}`

const STREAMS: readonly [string, ApiShape, string][] = [
  [
    'chat',
    chatCompletions,
    `${ANSWER}data: {"error":${PROVIDER},"choices":[]}\n\ndata: [DONE]\n\n`,
  ],
  [
    'messages',
    messages,
    `event: error\ndata: {"message":1,"type":"error","error":{"type":"api_error","message":"${SECRET}"}}\n\n`,
  ],
  [
    'responses',
    responses,
    `event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"${SECRET}"}}}\n\n`,
  ],
  ['chat without a blank line at its end', chatCompletions, `data: {"error":${PROVIDER}}`],
  ['chat with CRLF', chatCompletions, `${ANSWER}: ping\r\n\r\ndata: {"error":${PROVIDER}}\r\n\r\n`],
]

describe('an error event that repeats a secret', () => {
  it.each(STREAMS)('of %s loses it, wherever a chunk ends', (_, shape, text) => {
    const bytes = encoder.encode(text)
    const expected = text.replaceAll('\\u0073k-or-v1-0123456789abcdef', SECRET)
    for (let cut = 0; cut <= bytes.length; cut++) {
      const got = through(shape, [bytes.subarray(0, cut), bytes.subarray(cut)])
      expect(got).toBe(expected.replaceAll(SECRET, 'alpha'))
    }
    const single = through(
      shape,
      [...bytes].map((byte) => Uint8Array.of(byte)),
    )
    expect(single).toBe(expected.replaceAll(SECRET, 'alpha'))
  })
})

describe('an answer', () => {
  it('is not searched, and passes as it came', () => {
    const text = `${ANSWER}data: {"choices":[{"index":0,"delta":{"content":"${SECRET}"}}]}\n\n`
    const bytes = encoder.encode(text)
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(through(chatCompletions, [bytes.subarray(0, cut), bytes.subarray(cut)])).toBe(text)
    }
  })

  it('goes on chunk by chunk: the same bytes, and none of a whole event held back', () => {
    const filter = redactErrorEvents(chatCompletions, redaction)
    const chunk = encoder.encode(ANSWER)
    expect(filter.push(chunk)).toBe(chunk)
    const half = encoder.encode('data: {"choices":[{"index":0,"delta":{"content":"Hi')
    expect(filter.push(half)).toEqual(half)
    const rest = encoder.encode('"}}]}\n\n')
    expect(filter.push(rest)).toEqual(rest)
    expect(filter.push(chunk)).toBe(chunk)
  })
})
