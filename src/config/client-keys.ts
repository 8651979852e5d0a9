import * as z from 'zod/mini'
import type { ClientTerms, GroupTerms } from '../balancing/clients/clients.ts'
import { clientTerms, groupTerms, limitFields, memberFields } from './client-limits.ts'
import { exactly, faultsOf, nameInSecret } from './fields.ts'
import { parseJson } from './json-text.ts'
import { type Located, publicName, readList, type SecretEntry, sha256Hex } from './secrets.ts'

/** A client: an app that may call. Only the hash of its token is kept. */
export interface Client extends ClientTerms {
  /** In lower-case hexadecimal. */
  readonly tokenSha256: string
}

/** What can be guessed is guessed: whoever has a token spends the pool's money. */
const MIN_TOKEN_LENGTH = 16

/** What stands in the place of a token in examples. A token may hold any other punctuation. */
export const PLACEHOLDER = /^<[a-z_ -]*>?$|^\.{3}$|^your[-_]|^some-long-random/i

const token = z.string({ error: 'must be a string' }).check(
  z.regex(/^[\x21-\x7e]+$/, {
    error: 'must contain only printable ASCII characters without spaces, and at least one',
    abort: true,
  }),
  z.refine((text) => !PLACEHOLDER.test(text), {
    error: 'looks like a placeholder; make up a token of your own: openssl rand -hex 32 gives one',
    abort: true,
  }),
  z.minLength(MIN_TOKEN_LENGTH, {
    error: `must have at least ${MIN_TOKEN_LENGTH} characters, so that nobody can guess it; openssl rand -hex 32 gives one`,
    abort: true,
  }),
)

const entry = exactly(
  {
    id: publicName,
    token: z.optional(token),
    sha256: z.optional(
      z
        .string({ error: 'must be a string' })
        .check(z.regex(/^[0-9a-fA-F]{64}$/, { error: 'must be 64 hexadecimal digits' })),
    ),
    ...memberFields,
  },
  () => 'must be an object with "id" and either "token" or "sha256"',
)

const groupEntry = exactly(
  { id: publicName, ...limitFields },
  () => 'must be an object with the field "id"',
)

/** All of `CLIENT_KEYS`. */
export interface ClientKeys {
  readonly clients: readonly Client[]
  readonly groups: readonly GroupTerms[]
  readonly faults: readonly string[]
}

/** Reads `CLIENT_KEYS`. Faults name the place in the list and never quote a token. */
export function readClientKeys(value: unknown): ClientKeys {
  const lists = listsOf(value)
  if (lists === null) return onlyClients(readList('CLIENT_KEYS', value, pair))
  const groups = readList('CLIENT_KEYS.groups', lists.groups, pair)
  const read = readGroups(groups.entries)
  const { clients, faults } = readClients(readList('CLIENT_KEYS.clients', lists.clients, pair))
  const known = new Set(read.groups.map(({ id }) => id))
  const unknown = clients.flatMap(({ groupId, id }) =>
    groupId === null || known.has(groupId)
      ? []
      : [`CLIENT_KEYS.clients: client "${id}" is of a group that is not in the list of groups`],
  )
  const ofGroups = [...groups.faults, ...read.faults]
  // After a fault of a group, a client of it would be a second fault with the same cause.
  const ofClients = ofGroups.length > 0 ? faults : [...faults, ...unknown]
  return {
    clients,
    groups: read.groups,
    faults: [...lists.faults, ...ofGroups, ...ofClients],
  }
}

/** The form with groups: an object of two lists; null for any other form. */
function listsOf(value: unknown) {
  const given = typeof value === 'string' && /^\s*\{/.test(value) ? parseJson(value) : null
  const object: unknown = given === null ? value : given.ok ? given.value : null
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return null
  const { clients = [], groups = [], ...others } = object as Readonly<Record<string, unknown>>
  const faults = Object.keys(others).map(
    (name) =>
      `CLIENT_KEYS.${nameInSecret(name)}: unknown field; the fields here are groups, clients`,
  )
  return { clients, groups, faults }
}

function onlyClients(list: ReturnType<typeof readList>): ClientKeys {
  const { clients, faults } = readClients(list)
  const grouped = clients.filter(({ groupId }) => groupId !== null)
  return {
    clients,
    groups: [],
    faults: [
      ...faults,
      ...grouped.map(
        ({ id }) =>
          `CLIENT_KEYS: client "${id}" is of a group; list the groups too: {"groups": [...], "clients": [...]}`,
      ),
    ],
  }
}

function readGroups(entries: readonly Located[]) {
  const faults: string[] = []
  const groups: GroupTerms[] = []
  for (const { where, value } of entries) {
    const parsed = groupEntry.safeParse(value)
    if (!parsed.success) {
      faults.push(...faultsOf(where, parsed.error, nameInSecret))
      continue
    }
    const terms = groupTerms(parsed.data.id, parsed.data)
    if (groups.some(({ id }) => id === terms.id))
      faults.push(`${where}: has the same id as another`)
    groups.push(terms)
  }
  return { groups, faults }
}

function readClients(list: ReturnType<typeof readList>) {
  const faults = [...list.faults]
  const clients: Client[] = []
  const known = new Map<string, string>()
  for (const { where, value } of list.entries) {
    const parsed = entry.safeParse(value)
    const found = [
      ...(parsed.success ? [] : clientFaults(where, value, parsed.error)),
      ...credentialFaults(where, value),
    ]
    faults.push(...found)
    if (!parsed.success || found.length > 0) continue
    const { id, token, sha256: hash } = parsed.data
    const tokenSha256 = token === undefined ? (hash ?? '').toLowerCase() : sha256Hex(token)
    for (const [what, mark] of [
      ['id', id],
      ['token', tokenSha256],
    ] as const) {
      const first = known.get(`${what} ${mark}`)
      if (first !== undefined) faults.push(`${where}: has the same ${what} as ${first}`)
      known.set(`${what} ${mark}`, first ?? where)
    }
    clients.push({ ...clientTerms(id, parsed.data), tokenSha256 })
  }
  return { clients, faults }
}

/** Splits `id:token`. The token may contain colons. */
function pair(text: string): SecretEntry {
  const [, id, token] = /^([^:]+):(.+)$/.exec(text) ?? []
  return { value: id === undefined ? null : { id, token } }
}

function clientFaults(where: string, value: unknown, error: z.core.$ZodError): string[] {
  return value === null
    ? [`${where}: must have the form id:token`]
    : faultsOf(where, error, nameInSecret)
}

/** Which of two fields must be there is a fault of the entry, whatever else is wrong with it. */
function credentialFaults(where: string, value: unknown): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const given = ['token', 'sha256'].filter((name) => Object.hasOwn(value, name))
  return given.length === 1
    ? []
    : [
        `${where}: must have either "token" or "sha256", given ${given.length === 0 ? 'neither' : 'both'}`,
      ]
}
