import { type ClientKeys, PLACEHOLDER } from '../client-keys.ts'
import { sha256Hex } from '../secrets.ts'

/** Who may call the admin API, by the SHA-256 of their tokens in lower-case hexadecimal. */
export interface AdminTokens {
  readonly writers: readonly string[]
  /** They open what is read, and nothing else. */
  readonly readers: readonly string[]
}

interface ReadTokens {
  readonly hashes: readonly string[]
  readonly isUnset: boolean
  readonly faults: readonly string[]
}

/** Whoever guesses one has the whole gateway. */
const MIN_LENGTH = 32

/** One, and while it is being rotated a second one. */
const MAX_TOKENS = 2

/** Reads `ADMIN_TOKEN` or `READ_TOKEN`. Faults never quote a token. */
export function readAdminTokens(name: string, value: unknown): ReadTokens {
  const isUnset = value === undefined || (typeof value === 'string' && value.trim() === '')
  if (isUnset) return { hashes: [], isUnset, faults: [] }
  const fault = (text: string): ReadTokens => {
    return { hashes: [], isUnset, faults: [`${name}: ${text}`] }
  }
  if (typeof value !== 'string') return fault('must be a text')
  const tokens = value.split(',').map((token) => token.trim())
  if (tokens.length > MAX_TOKENS) return fault(`must be one token, or ${MAX_TOKENS} with a comma`)
  if (!tokens.every((token) => /^[\x21-\x7e]+$/.test(token))) {
    return fault('must contain only printable ASCII characters without spaces')
  }
  if (tokens.some((token) => PLACEHOLDER.test(token))) {
    return fault(
      'looks like a placeholder; make up one of your own: openssl rand -hex 32 gives one',
    )
  }
  if (tokens.some(({ length }) => length < MIN_LENGTH)) {
    return fault(
      `must have at least ${MIN_LENGTH} characters, so that nobody can guess it; openssl rand -hex 32 gives one`,
    )
  }
  if (new Set(tokens).size < tokens.length) return fault('has the same token twice')
  return { hashes: tokens.map(sha256Hex), isUnset, faults: [] }
}

/** A token that opens two doors would give its owner more than was meant. */
export function sharedTokenFaults(
  writers: readonly string[],
  readers: readonly string[],
  { clients }: Pick<ClientKeys, 'clients'>,
): string[] {
  const ofClients = new Set(clients.map(({ tokenSha256 }) => tokenSha256))
  const ofClient = (name: string, hashes: readonly string[]) =>
    hashes.some((hash) => ofClients.has(hash))
      ? [`${name}: has the token of a client; whoever has that must not have the gateway`]
      : []
  const both = readers.some((hash) => writers.includes(hash))
    ? ['READ_TOKEN: has a token of ADMIN_TOKEN; each opens something else, so make up another']
    : []
  return [...both, ...ofClient('ADMIN_TOKEN', writers), ...ofClient('READ_TOKEN', readers)]
}
