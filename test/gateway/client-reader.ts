import type { VirtualTime } from './virtual-time.ts'

export interface ReceivedChunk {
  readonly atMs: number
  readonly bytes: Uint8Array
}

/** A client that reads a response. */
export interface ReadingClient {
  /** The response, or null until its status is known. */
  response(): Response | null
  readonly chunks: readonly ReceivedChunk[]
  /** The bytes that were received so far. */
  bytes(): Uint8Array
  text(): string
  /** `open` until the body has ended or broken. */
  state(): 'open' | 'ended' | 'broken'
  /** Lets a slow client take the next chunk. */
  readOne(): void
  /** Stops reading, like a client that closes its connection. */
  cancel(): Promise<void>
  /** Waits for the whole answer. */
  whole(): Promise<{ readonly status: number; readonly headers: Headers; readonly text: string }>
}

/** Reads a response as it comes, or chunk by chunk on command. */
export function readAlong(
  answer: Promise<Response>,
  time: VirtualTime,
  pace: 'along' | 'slow',
): ReadingClient {
  const chunks: ReceivedChunk[] = []
  let response: Response | null = null
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null
  let state: 'open' | 'ended' | 'broken' = 'open'
  const over = Promise.withResolvers<void>()

  const end = (how: 'ended' | 'broken') => {
    if (state === 'open') state = how
    over.resolve()
  }
  const readOne = async (): Promise<void> => {
    try {
      const result = await reader?.read()
      if (result === undefined || result.done) return end('ended')
      chunks.push({ atMs: time.nowMs(), bytes: result.value })
    } catch {
      end('broken')
    }
  }
  const begin = async () => {
    response = await answer
    reader = response.body?.getReader() ?? null
    if (pace === 'along') while (state === 'open') await readOne()
  }
  // A server that gives up answering breaks the connection.
  begin().catch(() => end('broken'))
  const bytes = () => {
    const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0))
    let at = 0
    for (const chunk of chunks) {
      all.set(chunk.bytes, at)
      at += chunk.bytes.length
    }
    return all
  }
  const text = () => new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(bytes())

  return {
    response: () => response,
    chunks,
    bytes,
    text,
    state: () => state,
    readOne: () => void readOne(),
    async cancel() {
      await reader?.cancel().catch(() => undefined)
      end('broken')
    },
    async whole() {
      await over.promise
      if (response === null) throw new Error('No response')
      const { status, headers } = response
      return { status, headers, text: text() }
    },
  }
}
