import { type FlightFrame, LENGTH_BYTES } from './answer-head.ts'

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
