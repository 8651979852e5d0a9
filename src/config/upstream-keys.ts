import * as z from 'zod/mini'
import { BUDGET_MODES } from '../balancing/clients/budget.ts'
import type { MaxSpend } from '../balancing/clients/max-spend.ts'
import { accountId, keyId } from '../balancing/ids.ts'
import { SPEND_PERIODS } from '../balancing/limits/quota-charge.ts'
import type { KeyConfig } from '../balancing/pool-state.ts'
import { MAX_USD, reserveUsd, wordOf, yesOrNo } from './client-limits.ts'
import { exactly, faultsOf, nameInSecret, shownIfNumber } from './fields.ts'
import { maxConcurrent, type Policy, rpm, tpm, usd, weight } from './policy.ts'
import { SELECTOR_PREFIX } from './route-policy.ts'
import { publicName, readList, type SecretEntry, sha256Hex } from './secrets.ts'

/** An OpenRouter key with its secret. The secret goes to the key ring and nowhere else. */
export interface UpstreamKey {
  readonly config: KeyConfig
  readonly secret: string
}

const SECRET_NAME = /^OPENROUTER_KEY/

const spendUsdError = (issue: { readonly input: unknown }) =>
  `must be a number above 0, up to ${MAX_USD}, given ${shownIfNumber(issue.input)}`

const maxSpend = exactly(
  {
    usd: z
      .number({ error: spendUsdError })
      .check(z.gt(0, { error: spendUsdError }), z.maximum(MAX_USD, { error: spendUsdError })),
    period: wordOf(SPEND_PERIODS),
    mode: z.optional(wordOf(BUDGET_MODES)),
    cap_usd: z.optional(reserveUsd()),
    reserve_usd: z.optional(reserveUsd()),
    include_byok: z.optional(yesOrNo()),
  },
  () => 'must be an object with the fields "usd" and "period"',
)

const entry = exactly(
  {
    key: z.string({ error: 'must be a string' }).check((context) => {
      const message = keyFault(context.value)
      if (message !== null) context.issues.push({ code: 'custom', message, input: context.value })
    }),
    id: z.optional(
      publicName.check(
        z.refine((id) => !SELECTOR_PREFIX.test(id), {
          error: 'must not start with tag: or account:, since routes use these prefixes',
        }),
      ),
    ),
    account: z.optional(publicName),
    weight: z.optional(weight(shownIfNumber)),
    max_concurrent: z.optional(maxConcurrent(shownIfNumber)),
    rpm: z.optional(rpm(shownIfNumber)),
    tpm: z.optional(tpm(shownIfNumber)),
    min_credit: z.optional(usd(shownIfNumber)),
    max_spend: z.optional(maxSpend),
    tags: z.optional(
      z
        .array(publicName, { error: 'must be a list of names' })
        .check(z.maxLength(20, { error: 'must have at most 20 names' })),
    ),
    disabled: z.optional(z.boolean({ error: 'must be true or false' })),
  },
  () => 'must be an object with the field "key"',
)

/** What stands in the place of a key in examples. A key has letters and digits after its prefix. */
const PLACEHOLDER = /\.{3}|…|[<>]|your[-_ ]|x{4}|\*{3}/i

/** Where an operator gets a key. */
const KEYS_PAGE = 'openrouter.ai/settings/keys'

/** Why a text is no OpenRouter key, without any piece of it; null if it may be one. */
function keyFault(text: string): string | null {
  // Only characters that are safe in a header: a line break must not get into a request.
  const isSafe = /^sk-or-[\x21-\x7e]+$/.test(text)
  const form = 'must start with sk-or- and contain only printable ASCII characters without spaces'
  if (PLACEHOLDER.test(text)) {
    const odd = /^\p{ASCII}*$/u.test(text) ? '' : ' and holds a character that is not ASCII'
    return `looks like a placeholder${odd}; put a key of your own there, from ${KEYS_PAGE}`
  }
  if (isSafe) return null
  if (!/^\p{ASCII}*$/u.test(text)) {
    return `${form}; it holds a character that is not ASCII: copy the key again from ${KEYS_PAGE}`
  }
  if (/^sk-(proj|ant|svcacct)-/.test(text)) {
    return `${form}; this looks like a key of another provider: make one at ${KEYS_PAGE}`
  }
  return form
}

type Entry = z.infer<typeof entry>

/**
 * The names of all secrets that hold keys, in the order of their keys in the configuration:
 * `OPENROUTER_KEYS` first, then the others by name, with numbers in the names compared by value.
 */
function secretNames(env: object): string[] {
  const order = new Intl.Collator('en', { numeric: true })
  const first = (name: string) => (name === 'OPENROUTER_KEYS' ? 0 : 1)
  return Object.keys(env)
    .filter((name) => SECRET_NAME.test(name))
    .sort((a, b) => first(a) - first(b) || order.compare(a, b))
}

/** Reads and joins all keys. Faults name the secret and the place in it, and never quote a key. */
export function readUpstreamKeys(
  env: Readonly<Record<string, unknown>>,
  policy: Policy,
): { keys: UpstreamKey[]; faults: string[] } {
  const faults: string[] = []
  const entries: { where: string; entry: Entry }[] = []
  const marks: Marks[] = []
  for (const name of secretNames(env)) {
    const list = readList(name, env[name], (text): SecretEntry => ({ value: { key: text } }))
    faults.push(...list.faults)
    for (const { where, value } of list.entries) {
      const parsed = entry.safeParse(value)
      if (parsed.success) entries.push({ where, entry: parsed.data })
      else faults.push(...faultsOf(where, parsed.error, nameInSecret))
      marks.push(marksOf(where, value))
    }
  }
  faults.push(...duplicates(marks))
  if (entries.length === 0 && faults.length === 0) {
    faults.push('OPENROUTER_KEYS: no key is configured; set it to one or more OpenRouter keys')
  }
  return { keys: entries.map(({ entry }) => upstreamKey(entry, policy)), faults }
}

function upstreamKey(entry: Entry, policy: Policy): UpstreamKey {
  const fingerprint = fingerprintOf(entry.key)
  const id = keyId(entry.id ?? nameOf(fingerprint))
  return {
    secret: entry.key,
    config: {
      id,
      account: entry.account === undefined ? null : accountId(entry.account),
      tags: entry.tags ?? [],
      weight: entry.weight ?? policy.defaultWeight,
      maxConcurrent: entry.max_concurrent ?? policy.defaultMaxConcurrent,
      rpm: entry.rpm ?? policy.defaultRpm,
      tpm: entry.tpm ?? policy.defaultTpm,
      minCreditUsd: entry.min_credit ?? policy.defaultMinCreditUsd,
      maxSpend: entry.max_spend === undefined ? null : maxSpendOf(entry.max_spend),
      disabled: entry.disabled ?? false,
      fingerprint,
    },
  }
}

function maxSpendOf({ usd, period, mode, ...more }: z.output<typeof maxSpend>): MaxSpend {
  const { cap_usd: capUsd, reserve_usd: reserveUsd, include_byok: includeByok } = more
  return { usd, period, mode, capUsd, reserveUsd, includeByok }
}

/** As much of the hash as the public name of a key without one shows. */
const fingerprintOf = (secret: string) => sha256Hex(secret).slice(0, 8)

const nameOf = (fingerprint: string) => `key-${fingerprint}`

/** By what an entry is told from others; null where it has no text there. */
interface Marks {
  readonly where: string
  readonly secret: string | null
  readonly id: string | null
}

/** Reads an entry that may have other faults: they must not hide that it is a duplicate. */
function marksOf(where: string, value: unknown): Marks {
  const { key, id } =
    typeof value === 'object' && value !== null ? { key: undefined, id: undefined, ...value } : {}
  const secret = typeof key === 'string' ? key : null
  if (typeof id === 'string') return { where, secret, id }
  return { where, secret, id: secret === null ? null : nameOf(fingerprintOf(secret)) }
}

function duplicates(marks: readonly Marks[]): string[] {
  const secrets = new Map<string, string>()
  const ids = new Map<string, string>()
  /** The place where a mark occurred first, if it is another. */
  const earlier = (mark: string | null, where: string, known: Map<string, string>) => {
    const place = mark === null ? undefined : known.get(mark)
    if (mark !== null && place === undefined) known.set(mark, where)
    return place
  }
  return marks.flatMap(({ where, secret, id }) => {
    const sameSecret = earlier(secret, where, secrets)
    const sameId = earlier(id, where, ids)
    return [
      ...(sameSecret === undefined ? [] : [`${where}: is the same key as ${sameSecret}`]),
      // Of a key without an id the name follows from the key.
      ...(sameId === undefined || sameId === sameSecret
        ? []
        : [`${where}: has the same id as ${sameId}`]),
    ]
  })
}
