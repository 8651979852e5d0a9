import * as z from 'zod/mini'
import { exactly, faultsOf, nameInSecret } from '../fields.ts'
import { parseJson } from '../json-text.ts'
import { isLoopbackHost, isPrivateHost } from './private-host.ts'

/** In what form an address takes a message: Standard Webhooks', or the one text of a chat. */
export const ALERT_FORMATS = ['standard', 'slack', 'discord'] as const

/** Where alerts go. Only the name may be shown: chats put a secret into the path of their URL. */
export interface AlertAddress {
  readonly name: string
  readonly url: string
  /** Each signs, so that one can be rotated. */
  readonly secrets: readonly Uint8Array<ArrayBuffer>[]
  readonly format: (typeof ALERT_FORMATS)[number]
}

export interface AlertAddresses {
  readonly addresses: readonly AlertAddress[]
  readonly faults: readonly string[]
}

export const MAX_ADDRESSES = 20
const MAX_SECRETS = 5

const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,31}$/

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md */
const MIN_SECRET_BYTES = 24
const MAX_SECRET_BYTES = 64

const SECRET_FORM = `must be whsec_ and then the base64 of ${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} bytes: echo "whsec_$(openssl rand -base64 32)" makes one`

const secret = z.pipe(
  z
    .string({ error: SECRET_FORM })
    .check(z.refine((text) => secretBytes(text) !== null, { error: SECRET_FORM })),
  z.transform((text: string) => secretBytes(text) ?? new Uint8Array()),
)

function secretBytes(text: string): Uint8Array<ArrayBuffer> | null {
  const [, base64] =
    /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/.exec(text) ?? []
  if (base64 === undefined) return null
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  return bytes.length >= MIN_SECRET_BYTES && bytes.length <= MAX_SECRET_BYTES ? bytes : null
}

const oneOrMore = z.pipe(
  z.transform((given: unknown) => (Array.isArray(given) ? given : [given])),
  z
    .array(secret)
    .check(
      z.minLength(1, { error: 'must have at least one secret' }),
      z.maxLength(MAX_SECRETS, { error: `must have at most ${MAX_SECRETS} secrets` }),
    ),
)

const addressSchema = (mayBeLoopback: boolean) =>
  exactly(
    {
      url: z.string({ error: 'must be a URL' }).check((context) => {
        const message = urlFault(context.value, mayBeLoopback)
        if (message === null) return
        context.issues.push({ code: 'custom', message, input: context.value })
      }),
      secret: oneOrMore,
      format: z._default(
        z.enum(ALERT_FORMATS, {
          error: `must be one of ${ALERT_FORMATS.map((one) => `"${one}"`).join(', ')}`,
        }),
        'standard',
      ),
    },
    () => 'must be an object with the fields "url" and "secret"',
  )

/** The words hold nothing of the URL. */
function urlFault(text: string, mayBeLoopback: boolean): string | null {
  if (!URL.canParse(text)) return 'must be an absolute URL'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'must not contain credentials'
  if (isLoopbackHost(url.hostname)) {
    if (mayBeLoopback && /^https?:$/.test(url.protocol)) return null
    return 'must not be a loopback address, unless UPSTREAM_URL is one too'
  }
  if (url.protocol !== 'https:') return 'must start with https:'
  return isPrivateHost(url.hostname)
    ? 'must be a host of the public internet, and not an address or a name of a private network'
    : null
}

const FORM = 'must be a JSON object: {"<name>": {"url": "https://…", "secret": "whsec_…"}}'

/**
 * Reads `ALERTS`. Faults name the address, and never quote a URL or a secret.
 * @param mayBeLoopback whether `UPSTREAM_URL` is on this machine, so that alerts may stay on it
 */
export function readAlertAddresses(value: unknown, mayBeLoopback: boolean): AlertAddresses {
  if (value === undefined || (typeof value === 'string' && value.trim() === '')) {
    return { addresses: [], faults: [] }
  }
  const only = (fault: string) => ({ addresses: [], faults: [`ALERTS: ${fault}`] })
  const json = typeof value === 'string' ? parseJson(value) : { ok: true as const, value }
  if (!json.ok) return only(`${FORM}, and is ${json.fault}`)
  const { value: object } = json
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return only(FORM)
  const entries = Object.entries(object)
  if (entries.length > MAX_ADDRESSES) return only(`must have at most ${MAX_ADDRESSES} addresses`)
  const schema = addressSchema(mayBeLoopback)
  const addresses: AlertAddress[] = []
  const faults: string[] = []
  for (const [name, given] of entries) {
    const where = `ALERTS.${nameInSecret(name)}`
    if (!NAME.test(name)) {
      faults.push(
        `${where}: a name must be 1 to 32 letters, digits, _ or - and start with a letter`,
      )
      continue
    }
    const parsed = schema.safeParse(given)
    if (!parsed.success) {
      faults.push(...faultsOf(where, parsed.error, nameInSecret))
      continue
    }
    const { url, secret: secrets, format } = parsed.data
    addresses.push({ name, url: new URL(url).href, secrets, format })
  }
  return { addresses, faults }
}
