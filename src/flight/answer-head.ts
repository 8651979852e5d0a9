/** Status and headers of an answer, as they travel to a Worker and lie in a row. */
export interface AnswerHead {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** The beginning of a flight's stream: what the bytes after it are. */
export type FlightFrame =
  | ({ readonly kind: 'answer' } & AnswerHead)
  /**
   * The request that was to pay for the answer was refused for a reason of its own client. Whoever
   * waited for it has to ask again.
   */
  | { readonly kind: 'again' }

export function headOf({ status, headers }: Pick<Response, 'status' | 'headers'>): AnswerHead {
  return { status, headers: Object.fromEntries(headers) }
}

const LENGTH_BYTES = 4

/** The length of the JSON in four bytes, and then the JSON. */
export function encodeFrame(frame: FlightFrame): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(frame))
  const bytes = new Uint8Array(LENGTH_BYTES + json.length)
  new DataView(bytes.buffer).setUint32(0, json.length)
  bytes.set(json, LENGTH_BYTES)
  return bytes
}

/**
 * Takes the frame off a stream, and not a byte of what follows.
 * @throws if the stream ends before the frame does
 */
export async function takeFrame(stream: ReadableStream<Uint8Array>): Promise<FlightFrame> {
  const reader = stream.getReader({ mode: 'byob' })
  try {
    const length = await exactly(reader, LENGTH_BYTES)
    const json = await exactly(reader, new DataView(length.buffer).getUint32(0))
    return JSON.parse(new TextDecoder().decode(json))
  } finally {
    reader.releaseLock()
  }
}

async function exactly(
  reader: ReadableStreamBYOBReader,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { value } = await reader.readAtLeast(length, new Uint8Array(length))
  if (value?.length !== length) throw new Error('The flight ended before its frame.')
  return new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, length)
}
