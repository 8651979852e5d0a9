import type { LineUsage } from './batch-rows.ts'

/** An upstream's or the gateway's answer to a line. */
export interface LineAnswer {
  readonly status: number
  readonly body: Uint8Array
}

/** Why a line has no answer. */
export interface LineError {
  readonly code: string
  readonly message: string
}

export const NO_USAGE: LineUsage = {
  ...{ promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0, costUsd: 0 },
}

const encoder = new TextEncoder()
const SPACE = 0x20
const LF = 0x0a
const CR = 0x0d

/** One line of an output or error file, with its end, as OpenAI's client reads it. */
export function resultLine(
  about: { readonly requestId: string; readonly customId: string },
  result: LineAnswer | LineError,
): Uint8Array {
  const head = `{"id":${JSON.stringify(about.requestId)},"custom_id":${JSON.stringify(about.customId)}`
  if ('code' in result) {
    return encoder.encode(`${head},"response":null,"error":${JSON.stringify(result)}}\n`)
  }
  const { status } = result
  const before = encoder.encode(
    `${head},"response":{"status_code":${status},"request_id":${JSON.stringify(about.requestId)},"body":`,
  )
  const body = oneLine(result.body)
  const after = encoder.encode('},"error":null}\n')
  const line = new Uint8Array(before.length + body.length + after.length)
  line.set(before)
  line.set(body, before.length)
  line.set(after, before.length + body.length)
  return line
}

/**
 * JSON as it came, on one line: outside strings a line's end is white space, and inside there is none.
 * What is no JSON, such as a page of the edge, becomes a string.
 */
function oneLine(bytes: Uint8Array): Uint8Array {
  const text = new TextDecoder().decode(bytes)
  try {
    JSON.parse(text)
  } catch {
    return encoder.encode(JSON.stringify(text))
  }
  // Encoded anew: bytes that are no UTF-8 would make the whole file unreadable.
  const line = encoder.encode(text)
  for (let i = 0; i < line.length; i += 1) if (line[i] === LF || line[i] === CR) line[i] = SPACE
  return line
}

/** The record of a line that nobody ran. */
export const UNRUN: Readonly<Record<'expired' | 'cancelled' | 'dead', LineError>> = {
  expired: {
    code: 'batch_expired',
    message: 'The request did not run before the end of the completion window.',
  },
  cancelled: {
    code: 'batch_cancelled',
    message: 'The batch was cancelled before the request ran.',
  },
  dead: {
    code: 'dead_letter',
    message:
      'The request ended its Worker each time it ran. The operator of the gateway can send it again.',
  },
}
