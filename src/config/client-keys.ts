import { z } from 'zod'
import { type ClientId, clientId } from '../balancing/ids.ts'
import { faultsOf, nameInSecret } from './fields.ts'
import { fromHex, publicName, readList, type SecretEntry, sha256 } from './secrets.ts'

/** A client: an app that may call. Only the hash of its token is kept. */
export interface Client {
  readonly id: ClientId
  readonly tokenSha256: Uint8Array
}

/** What can be guessed is guessed: whoever has a token spends the pool's money. */
const MIN_TOKEN_LENGTH = 16

const TOKEN = /^[\x21-\x7e]+$/

const entry = z.union([
  z.strictObject({ id: publicName(), token: z.string().min(MIN_TOKEN_LENGTH).regex(TOKEN) }),
  z.strictObject({ id: publicName(), sha256: z.string().regex(/^[0-9a-fA-F]{64}$/) }),
])

const ENTRY_FORM =
  'must be an object with "id" (1 to 64 letters, digits or . _ : @ -) and either "token" (printable ASCII, no spaces) or "sha256" (64 hex digits), and no other field'

const TOO_SHORT = `must have at least ${MIN_TOKEN_LENGTH} characters, so that nobody can guess it; \`openssl rand -hex 32\` gives one`

/** Reads `CLIENT_KEYS`. Faults name the place in the list and never quote a token. */
export async function readClientKeys(
  value: unknown,
): Promise<{ clients: Client[]; faults: string[] }> {
  const list = readList('CLIENT_KEYS', value, pair)
  const faults = [...list.faults]
  const clients: Client[] = []
  const known = new Map<string, string>()
  for (const { where, value } of list.entries) {
    const parsed = entry.safeParse(value)
    if (!parsed.success) {
      faults.push(...clientFaults(where, value))
      continue
    }
    const { data } = parsed
    const tokenSha256 = 'token' in data ? await sha256(data.token) : fromHex(data.sha256)
    for (const [what, mark] of [
      ['id', data.id],
      ['token', `${tokenSha256}`],
    ] as const) {
      const first = known.get(`${what} ${mark}`)
      if (first !== undefined) faults.push(`${where}: has the same ${what} as ${first}`)
      known.set(`${what} ${mark}`, first ?? where)
    }
    clients.push({ id: clientId(data.id), tokenSha256 })
  }
  return { clients, faults }
}

/** Splits `id:token`. The token may contain colons. */
function pair(text: string): SecretEntry {
  const [, id, token] = /^([^:]+):(.+)$/.exec(text) ?? []
  return { value: id === undefined ? null : { id, token } }
}

/** The union's own message would list the faults of both alternatives. One sentence is clearer. */
function clientFaults(where: string, value: unknown): string[] {
  if (value === null) return [`${where}: must have the form id:token`]
  const unknown = z.strictObject({ id: z.unknown(), token: z.unknown(), sha256: z.unknown() })
  const parsed = unknown.partial().safeParse(value)
  const token = parsed.success ? parsed.data.token : undefined
  if (typeof token === 'string' && token.length < MIN_TOKEN_LENGTH && TOKEN.test(token)) {
    return [`${where}.token: ${TOO_SHORT}`]
  }
  return parsed.success ? [`${where}: ${ENTRY_FORM}`] : faultsOf(where, parsed.error, nameInSecret)
}
