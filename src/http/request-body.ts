import { holdsKey } from '../config/secrets.ts'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import type { JsonObject } from '../openrouter/json-value.ts'
import { formTokens, promptTokens, roughTokens } from '../openrouter/requests/body-tokens.ts'
import { withFormModel, withModel } from '../openrouter/requests/model-value.ts'
import { readFormModel } from '../openrouter/requests/multipart-model.ts'
import { openingFields } from '../openrouter/requests/opening-fields.ts'
import { smallFields, type WalkedBody, walkBody } from '../openrouter/requests/walked-body.ts'

/**
 * What routing needs of a body. It is read while the request is planned, and holds the body: keep it
 * no longer than that.
 */
export interface ReadBody {
  readonly model: string
  /** The short fields at the top level. Empty for a form: only its model field is read. */
  readonly json: JsonObject
  /** The fields in which the conversation begins, as far as it does. */
  readonly opening: () => JsonObject
  /**
   * The estimated tokens of the prompt.
   * @param care `rough` goes by bytes, `close` by language and structure
   */
  readonly promptTokens: (care: 'rough' | 'close', random: () => number) => number
  readonly withModel: (body: Uint8Array, model: string) => Uint8Array
  /** Set if the body names only `models[]`: there is no `model` that could be replaced. */
  readonly isFixed?: true
}

export type ModelRead =
  | ({ readonly ok: true } & ReadBody)
  | { readonly ok: false; readonly error: GatewayError }

/** The pool keeps model names in memory, so the caller must not choose an unlimited length. */
const MAX_MODEL_LENGTH = 256

const NAME_A_MODEL = `must name a model: "model" must be a string of 1 to ${MAX_MODEL_LENGTH} characters, and no key.`

const refuse = (message: string) =>
  ({ ok: false, error: gatewayError('invalid_request', message) }) as const

/**
 * Reads what routing needs of a body. The body itself is not changed.
 * @param pause lets other requests go on while a large body is read
 */
export async function readModel(
  body: Uint8Array,
  contentType: string,
  pause: () => Promise<void>,
): Promise<ModelRead> {
  return isFormType(contentType) ? readForm(body, contentType) : await readJson(body, pause)
}

/** Whether a body is a form, and not JSON. */
export function isFormType(contentType: string): boolean {
  return /^multipart\/form-data\b/i.test(contentType)
}

function readForm(body: Uint8Array, contentType: string): ModelRead {
  const model = readFormModel(body, contentType)
  if (!isName(model))
    return refuse(`The form ${NAME_A_MODEL} Exactly one field may have that name.`)
  return {
    ok: true,
    model,
    json: {},
    opening: () => ({}),
    promptTokens: () => formTokens(body.length),
    withModel: (bytes, name) => withFormModel(bytes, contentType, name) ?? bytes,
  }
}

async function readJson(body: Uint8Array, pause: () => Promise<void>): Promise<ModelRead> {
  const walked = await walkBody(body, pause)
  if (walked === null) return refuse('The request body must be a JSON object.')
  const json = smallFields(walked)
  const { model, models } = json
  const read = {
    ok: true,
    json,
    opening: () => openingFields(walked),
    promptTokens: (care: 'rough' | 'close', random: () => number) => TOKENS[care](walked, random),
    withModel,
  } as const
  if ((model ?? null) === null && Array.isArray(models) && isName(models[0])) {
    return { ...read, model: models[0], isFixed: true }
  }
  return isName(model) ? { ...read, model } : refuse(`The request body ${NAME_A_MODEL}`)
}

const TOKENS: Readonly<
  Record<'rough' | 'close', (body: WalkedBody, random: () => number) => number>
> = { rough: roughTokens, close: promptTokens }

function isName(model: unknown): model is string {
  if (typeof model !== 'string' || model === '' || model.length > MAX_MODEL_LENGTH) return false
  // Names of models are logged, stored and shown.
  return !holdsKey(model)
}
