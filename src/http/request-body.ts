import { concat } from '../gateway/body.ts'
import { type GatewayError, gatewayError } from '../gateway/gateway-error.ts'
import { isJsonObject, type JsonObject } from '../openrouter/json-value.ts'

export type BodyRead =
  | { readonly ok: true; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly error: GatewayError }

/**
 * Reads a request's body, once and bounded. `content-length` is believed only
 * when it says that the body is too large: what counts is what comes.
 */
export async function readRequestBody(request: Request, maxBytes: number): Promise<BodyRead> {
  const tooLarge = () => {
    const message = `The request body is larger than this gateway allows (${maxBytes} bytes).`
    const metadata = { max_body_bytes: maxBytes }
    return { ok: false, error: gatewayError('body_too_large', message, { metadata }) } as const
  }
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) return tooLarge()
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of request.body ?? []) {
      length += chunk.length
      if (length > maxBytes) return tooLarge()
      chunks.push(chunk)
    }
  } catch {
    const message = 'The request body ended before it was complete.'
    return { ok: false, error: gatewayError('invalid_request', message) }
  }
  return { ok: true, bytes: concat(chunks) }
}

export type ModelRead =
  | { readonly ok: true; readonly model: string; readonly json: JsonObject }
  | { readonly ok: false; readonly error: GatewayError }

/** Names are kept in the pool's memory, so their length is the caller's only up to here. */
const MAX_MODEL_LENGTH = 256

/** Reads what routing needs of a JSON body. The bytes themselves go upstream as they came. */
export function readModel(body: Uint8Array): ModelRead {
  const refuse = (message: string) =>
    ({ ok: false, error: gatewayError('invalid_request', message) }) as const
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(body))
  } catch {
    return refuse('The request body is not valid JSON.')
  }
  if (!isJsonObject(value)) return refuse('The request body must be a JSON object.')
  const { model } = value
  if (typeof model !== 'string' || model === '' || model.length > MAX_MODEL_LENGTH) {
    return refuse(
      `The request body must name a model: "model" must be a string of 1 to ${MAX_MODEL_LENGTH} characters.`,
    )
  }
  return { ok: true, model, json: value }
}
