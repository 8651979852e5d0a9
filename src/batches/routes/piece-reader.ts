import { type Ports, withinTime } from '../../gateway/ports.ts'
import { byteReader } from '../../http/upload.ts'
import { forgetFrames } from '../../openrouter/error-frames.ts'
import type { Piece } from '../files/upload-file.ts'

const PIECE_BYTES = 256 * 1024
/** Each piece costs a turn, so the platform is to wait until it has some. */
const LEAST_BYTES = 32 * 1024

/** Reads a body in pieces that are worth a turn each. It waits for one no longer than `idleMs`. */
export function pieceReader(
  body: ReadableStream<Uint8Array>,
  idleMs: number,
  ports: Pick<Ports, 'timer'>,
): { next(): Promise<Piece>; cancel(): void } {
  const reader = byteReader(body)
  const next = async (): Promise<Piece> => {
    try {
      const { value } = await reader.readAtLeast(LEAST_BYTES, new Uint8Array(PIECE_BYTES))
      return value === undefined || value.length === 0 ? null : value
    } catch (error) {
      forgetFrames(error)
      return 'incomplete'
    }
  }
  return {
    async next() {
      const piece = await withinTime(
        ports,
        idleMs,
        next().then((read) => ({ read })),
      )
      return piece === null ? 'late' : piece.read
    },
    cancel: () => void reader.cancel().catch(() => undefined),
  }
}
