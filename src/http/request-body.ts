import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import { concat } from '../gateway/attempts/body.ts'
import { isJsonObject, type JsonObject } from '../openrouter/json-value.ts'
import { withFormModel, withModel } from '../openrouter/requests/model-value.ts'
import { readFormModel } from '../openrouter/requests/multipart-model.ts'

export type BodyRead =
  | { readonly ok: true; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly error: GatewayError }

/**
 * Reads a request's body once, up to `maxBytes`. A `content-length` above the limit refuses the
 * body at once. Otherwise the gateway does not trust that header and counts the bytes that come.
 */
export async function readRequestBody(request: Request, maxBytes: number): Promise<BodyRead> {
  const tooLarge = () => {
    const message = `The request body is too large. This gateway allows ${maxBytes} bytes.`
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
    const message = 'The request body ended before it was complete. Send the request again.'
    return { ok: false, error: gatewayError('invalid_request', message) }
  }
  return { ok: true, bytes: concat(chunks) }
}

/** What routing needs of a body, and a way to replace its model name. */
export interface ReadBody {
  readonly model: string
  /** Empty for a form: the gateway reads only the model field of a form. */
  readonly json: JsonObject
  readonly withModel: (model: string) => Uint8Array
  /** Set if the body names only `models[]`: there is no `model` that could be replaced. */
  readonly isFixed?: true
}

export type ModelRead =
  | ({ readonly ok: true } & ReadBody)
  | { readonly ok: false; readonly error: GatewayError }

/** The pool keeps model names in memory, so the caller must not choose an unlimited length. */
const MAX_MODEL_LENGTH = 256

const NAME_A_MODEL = `must name a model: "model" must be a string of 1 to ${MAX_MODEL_LENGTH} characters.`

const refuse = (message: string) =>
  ({ ok: false, error: gatewayError('invalid_request', message) }) as const

/** Reads what routing needs of a body. The body itself is not changed. */
export function readModel(body: Uint8Array, contentType: string): ModelRead {
  return /^multipart\/form-data\b/i.test(contentType) ? readForm(body, contentType) : readJson(body)
}

function readForm(body: Uint8Array, contentType: string): ModelRead {
  const model = readFormModel(body, contentType)
  if (!isName(model))
    return refuse(`The form ${NAME_A_MODEL} Exactly one field may have that name.`)
  return {
    ok: true,
    model,
    json: {},
    withModel: (name) => withFormModel(body, contentType, name) ?? body,
  }
}

function readJson(body: Uint8Array): ModelRead {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(body))
  } catch {
    return refuse('The request body is not valid JSON.')
  }
  if (!isJsonObject(value)) return refuse('The request body must be a JSON object.')
  const { model, models } = value
  if ((model ?? null) === null && Array.isArray(models) && isName(models[0])) {
    return { ok: true, model: models[0], json: value, withModel: () => body, isFixed: true }
  }
  if (!isName(model)) return refuse(`The request body ${NAME_A_MODEL}`)
  return { ok: true, model, json: value, withModel: (name) => withModel(body, name) }
}

function isName(model: unknown): model is string {
  return typeof model === 'string' && model !== '' && model.length <= MAX_MODEL_LENGTH
}
