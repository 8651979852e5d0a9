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

export const LENGTH_BYTES = 4

/** The length of the JSON in four bytes, and then the JSON. */
export function encodeFrame(frame: FlightFrame): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(frame))
  const bytes = new Uint8Array(LENGTH_BYTES + json.length)
  new DataView(bytes.buffer).setUint32(0, json.length)
  bytes.set(json, LENGTH_BYTES)
  return bytes
}
