import { joinPieces } from '../../openrouter/pieces.ts'
import type { HeldBytes } from '../byte-budget.ts'
import type { StopCause, UpstreamCall } from './upstream-call.ts'

/** An error body is a few kilobytes. */
const MAX_BYTES = 1024 * 1024

/**
 * An error body comes with its headers, or right after them. Whoever waits for the rest of one that
 * hangs holds up the attempt with the next key.
 */
const MAX_MS = 2_000

/** What came of an error's body: all of it, a part if it hung or broke off, nothing if it is too long. */
export type ErrorBody =
  | { readonly kind: 'body'; readonly bytes: Uint8Array }
  /** The client left, or the request's own time is up. */
  | { readonly kind: 'stopped'; readonly cause: Extract<StopCause, 'client_gone' | 'total'> }

/** Reads an error's body, as far as it comes in a short time. */
export async function readErrorBody(call: UpstreamCall, held: HeldBytes): Promise<ErrorBody> {
  call.arm('idle', MAX_MS)
  const chunks: Uint8Array[] = []
  for (let length = 0; length <= MAX_BYTES; ) {
    const read = await call.read()
    switch (read.kind) {
      case 'chunk':
        chunks.push(read.bytes)
        length += read.bytes.length
        if (!held.grow(read.bytes.length)) return { kind: 'body', bytes: joinPieces(chunks) }
        break
      case 'end':
      case 'broken':
        return { kind: 'body', bytes: joinPieces(chunks) }
      case 'stopped':
        return read.cause === 'client_gone' || read.cause === 'total'
          ? { kind: 'stopped', cause: read.cause }
          : { kind: 'body', bytes: joinPieces(chunks) }
    }
  }
  return { kind: 'body', bytes: new Uint8Array(0) }
}
