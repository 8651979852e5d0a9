import { joinPieces } from '../../openrouter/pieces.ts'
import type { HeldBytes } from '../byte-budget.ts'
import type { Read, UpstreamCall } from './upstream-call.ts'

/**
 * Reads a whole body of at most `maxBytes`. `too_long` returns what has come of a longer body, or of
 * one for which there is no room; the caller can still read the rest.
 * @param held counts the bytes
 * @param idleMs the longest pause after a chunk, in milliseconds; without it no idle clock is armed
 */
export async function readWhole(
  call: UpstreamCall,
  maxBytes: number,
  held: HeldBytes,
  idleMs?: number,
): Promise<
  | { readonly kind: 'body'; readonly bytes: Uint8Array }
  | { readonly kind: 'too_long'; readonly chunks: Uint8Array[] }
  | Exclude<Read, { kind: 'chunk' | 'end' }>
> {
  const chunks: Uint8Array[] = []
  let length = 0
  for (;;) {
    const read = await call.read()
    if (read.kind === 'end') return { kind: 'body', bytes: joinPieces(chunks) }
    if (read.kind !== 'chunk') return read
    chunks.push(read.bytes)
    length += read.bytes.length
    if (!held.grow(read.bytes.length) || length > maxBytes) return { kind: 'too_long', chunks }
    if (idleMs !== undefined) call.arm('idle', idleMs)
  }
}

const decoder = new TextDecoder()

/** The JSON that a body holds, or undefined. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes))
  } catch {
    return undefined
  }
}
