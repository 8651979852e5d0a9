import type { HeldBytes } from '../../gateway/byte-budget.ts'
import type { Ports } from '../../gateway/ports.ts'
import { forgetFrames } from '../../openrouter/error-frames.ts'
import { joinPieces } from '../../openrouter/pieces.ts'
import { MAX_LIST_BYTES, type WholeList } from './catalogue-cache.ts'

/** A list as it came: read to its end, or to be passed on. */
export type ListRead =
  | (WholeList & { readonly ok: true; readonly kind: 'whole' })
  | {
      readonly ok: true
      readonly kind: 'stream'
      readonly status: number
      readonly headers: Headers
      readonly body: ReadableStream | null
    }

/**
 * Reads a list to its end, if it is not longer than a list may be, and if there is room for it.
 * @param idleMs the longest pause between two pieces, in milliseconds
 * @param held counts the bytes
 * @returns null if it broke off or stopped coming
 */
export async function readList(
  { status, headers, body }: Response,
  idleMs: number,
  ports: Ports,
  held: HeldBytes,
): Promise<ListRead | null> {
  const reader: ReadableStreamDefaultReader<Uint8Array> | undefined = body?.getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  let hasRoom = true
  let isLate = false
  const giveUp = () => {
    isLate = true
    void reader?.cancel().catch(() => undefined)
  }
  try {
    while (reader !== undefined && hasRoom && length <= MAX_LIST_BYTES) {
      const stop = ports.timer(idleMs, giveUp)
      const { done, value } = await reader.read()
      stop()
      if (done) break
      chunks.push(value)
      length += value.length
      hasRoom = held.grow(value.length)
    }
  } catch (error) {
    forgetFrames(error)
    return null
  }
  if (isLate) return null
  const head = { ok: true, status, headers } as const
  if (hasRoom && length <= MAX_LIST_BYTES)
    return { ...head, kind: 'whole', bytes: joinPieces(chunks) }
  return { ...head, kind: 'stream', body: joined(chunks, reader) }
}

/** The chunks that have been read, and after them the rest, at the client's pace. */
function joined(
  chunks: Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const chunk = chunks.shift() ?? (await reader?.read())?.value
      if (chunk === undefined) controller.close()
      else controller.enqueue(chunk)
    },
    async cancel() {
      await reader?.cancel()
    },
  })
}
