import { z } from 'zod'
import { SPEND_PERIODS } from '../balancing/accounting/max-spend.ts'
import { accountId, type KeyId, keyId } from '../balancing/ids.ts'
import type { KeyConfig } from '../balancing/pool-state.ts'
import { faultsOf, nameInSecret, shownIfNumber } from './fields.ts'
import { maxConcurrent, type Policy, rpm, tpm, usd, weight } from './policy.ts'
import { SELECTOR_PREFIX } from './route-policy.ts'
import { publicName, readList, type SecretEntry, sha256Hex } from './secrets.ts'

/** An OpenRouter key with its secret. The secret goes to the key ring and nowhere else. */
export interface UpstreamKey {
  readonly config: KeyConfig
  readonly secret: string
}

const SECRET_NAME = /^OPENROUTER_KEY/

const MAX_USD = 1_000_000

const spendUsdError = (issue: { readonly input: unknown }) =>
  `must be a number above 0, up to ${MAX_USD}, given ${shownIfNumber(issue.input)}`

/** What is written in place of the period may be a part of a key, so it is not shown. */
const maxSpend = z.strictObject(
  {
    usd: z
      .number({ error: spendUsdError })
      .gt(0, { error: spendUsdError })
      .max(MAX_USD, { error: spendUsdError }),
    period: z.enum(SPEND_PERIODS, {
      error: `must be one of ${SPEND_PERIODS.map((period) => `"${period}"`).join(', ')}`,
    }),
  },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? undefined
        : 'must be an object with the fields "usd" and "period"',
  },
)

const entry = z.strictObject(
  {
    // Only characters that are safe in a header: a line break must not get into a request.
    key: z.string({ error: 'must be a string' }).regex(/^sk-or-[\x21-\x7e]+$/, {
      error: 'must start with sk-or- and contain only printable ASCII characters without spaces',
    }),
    id: publicName()
      .refine((id) => !SELECTOR_PREFIX.test(id), {
        error: 'must not start with tag: or account:, since routes use these prefixes',
      })
      .optional(),
    account: publicName().optional(),
    weight: weight(shownIfNumber).optional(),
    max_concurrent: maxConcurrent(shownIfNumber).optional(),
    rpm: rpm(shownIfNumber).optional(),
    tpm: tpm(shownIfNumber).optional(),
    min_credit: usd(shownIfNumber).optional(),
    max_spend: maxSpend.optional(),
    tags: z
      .array(publicName(), { error: 'must be a list of names' })
      .max(20, { error: 'must have at most 20 names' })
      .optional(),
    disabled: z.boolean({ error: 'must be true or false' }).optional(),
  },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? undefined : 'must be an object with the field "key"',
  },
)

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
export async function readUpstreamKeys(
  env: Readonly<Record<string, unknown>>,
  policy: Policy,
): Promise<{ keys: UpstreamKey[]; faults: string[] }> {
  const faults: string[] = []
  const entries: { where: string; entry: Entry }[] = []
  for (const name of secretNames(env)) {
    const list = readList(name, env[name], (text): SecretEntry => ({ value: { key: text } }))
    faults.push(...list.faults)
    for (const { where, value } of list.entries) {
      const parsed = entry.safeParse(value)
      if (parsed.success) entries.push({ where, entry: parsed.data })
      else faults.push(...faultsOf(where, parsed.error, nameInSecret))
    }
  }
  const keys = await Promise.all(
    entries.map(async ({ where, entry }) => ({ where, key: await upstreamKey(entry, policy) })),
  )
  faults.push(...duplicates(keys))
  if (keys.length === 0 && faults.length === 0) {
    faults.push('OPENROUTER_KEYS: no key is configured; set it to one or more OpenRouter keys')
  }
  return { keys: keys.map(({ key }) => key), faults }
}

async function upstreamKey(entry: Entry, policy: Policy): Promise<UpstreamKey> {
  // As much of the hash as the public name of a key without one shows.
  const fingerprint = (await sha256Hex(entry.key)).slice(0, 8)
  const id = keyId(entry.id ?? `key-${fingerprint}`)
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
      maxSpend: entry.max_spend ?? null,
      disabled: entry.disabled ?? false,
      fingerprint,
    },
  }
}

function duplicates(keys: readonly { where: string; key: UpstreamKey }[]): string[] {
  const faults: string[] = []
  const bySecret = new Map<string, string>()
  const byId = new Map<KeyId, string>()
  for (const { where, key } of keys) {
    const sameSecret = bySecret.get(key.secret)
    const sameId = byId.get(key.config.id)
    if (sameSecret !== undefined) faults.push(`${where}: is the same key as ${sameSecret}`)
    else if (sameId !== undefined) faults.push(`${where}: has the same id as ${sameId}`)
    bySecret.set(key.secret, sameSecret ?? where)
    byId.set(key.config.id, sameId ?? where)
  }
  return faults
}
