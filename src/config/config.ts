import type { GroupTerms } from '../balancing/clients/clients.ts'
import type { PoolConfig } from '../balancing/pool-state.ts'
import { type AlertAddress, readAlertAddresses } from './alerts/alert-addresses.ts'
import { addressFaults, alertPolicy } from './alerts/alert-fields.ts'
import { isLoopbackHost } from './alerts/private-host.ts'
import { type Client, type ClientKeys, readClientKeys } from './client-keys.ts'
import { faultsOf, hidden, shown } from './fields.ts'
import { parseJson } from './json-text.ts'
import { type Access, readAccess } from './operators/access.ts'
import { type AdminTokens, readAdminTokens, sharedTokenFaults } from './operators/admin-tokens.ts'
import { type Policy, policySchema } from './policy.ts'
import { type PoolPlace, readPoolPlace } from './pool-place.ts'
import { selectorFaults } from './route-policy.ts'
import { readUpstreamKeys, type UpstreamKey } from './upstream-keys.ts'

/** All settings of the operator, validated. */
export interface Config {
  /** Without a slash at the end. */
  readonly upstreamUrl: string
  readonly keys: readonly UpstreamKey[]
  readonly clients: readonly Client[]
  readonly groups: readonly GroupTerms[]
  /** The hashes of the tokens that open the admin API, and of those that only read. */
  readonly admin: AdminTokens
  /** The application of Cloudflare Access that opens it too, or null. */
  readonly access: Access | null
  /** Whether callers without a client key are allowed. */
  readonly anonymous: boolean
  readonly policy: Policy
  /** Where the pool's object lives. */
  readonly place: PoolPlace
  /** Where alerts go. Secret, but for the names. */
  readonly alertAddresses: readonly AlertAddress[]
}

/** Either a valid configuration, or all its faults, each with the name of its field. */
export type ConfigResult =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly faults: readonly string[] }

export type Environment = Readonly<Record<string, unknown>>

const DEFAULT_UPSTREAM_URL = 'https://openrouter.ai/api/v1'

/** Reads the configuration from the Worker's bindings. Never throws and never quotes a secret. */
export function readConfig(env: Environment): ConfigResult {
  const faults: string[] = []
  const take = <T>(result: { readonly value: T; readonly faults: readonly string[] }): T => {
    faults.push(...result.faults)
    return result.value
  }
  const upstreamUrl = take(readUpstreamUrl(env.UPSTREAM_URL))
  const policy = take(readPolicy(env.POLICY))
  const upstream = readUpstreamKeys(env, policy)
  faults.push(...upstream.faults)
  // After a fault of a key, a selector of that key would be a second fault with the same cause.
  if (upstream.faults.length === 0) {
    const routes = policy.routes.map(({ keys }, i) => ({ where: `POLICY.routes[${i}]`, keys }))
    faults.push(...selectorFaults(routes, upstream.keys))
  }
  const callers = readClientKeys(env.CLIENT_KEYS)
  faults.push(...callers.faults)
  if (upstream.faults.length === 0) {
    faults.push(...selectorFaults(clientSelectors(callers), upstream.keys, hidden))
  }
  const anonymous = readAnonymous(env.ANONYMOUS_CLIENTS)
  faults.push(...anonymous.faults)
  const denied = anonymous.faults.length === 0 && !anonymous.value
  const writers = readAdminTokens('ADMIN_TOKEN', env.ADMIN_TOKEN)
  const readers = readAdminTokens('READ_TOKEN', env.READ_TOKEN)
  faults.push(...writers.faults, ...readers.faults)
  faults.push(...sharedTokenFaults(writers.hashes, readers.hashes, callers))
  const access = take(readAccess(env.ACCESS_TEAM, env.ACCESS_AUD))
  const place = take(readPoolPlace(env.POOL_LOCATION, env.POOL_JURISDICTION))
  const alerts = readAlertAddresses(env.ALERTS, isLoopbackHost(new URL(upstreamUrl).hostname))
  faults.push(...alerts.faults)
  // After a fault of an address, its name would be a second fault with the same cause.
  if (alerts.faults.length === 0) faults.push(...addressFaults(policy.alerts, namesOf(alerts)))
  const isEmpty = callers.clients.length === 0 && callers.faults.length === 0
  if (denied && isEmpty && writers.isUnset && access === null) {
    faults.push(NOBODY)
  }
  faults.push(...bindingFaults(env, policy))
  // An empty list is set too: it admits no caller, also if anonymous callers are allowed.
  const open = anonymous.value && isUnset(env.CLIENT_KEYS)
  if (faults.length > 0) return { ok: false, faults }
  const config = {
    upstreamUrl,
    keys: upstream.keys,
    clients: callers.clients,
    groups: callers.groups,
    admin: { writers: writers.hashes, readers: readers.hashes },
    access,
    anonymous: open,
    policy,
    place,
    alertAddresses: alerts.addresses,
  }
  return { ok: true, config }
}

/** What is missing of the bindings. Answers are shared and kept in objects of their own. */
function bindingFaults(env: Environment, { routes }: Policy): readonly string[] {
  const isSharing = routes.some(({ cache }) => cache !== null)
  const needed = [
    ['KEY_POOL', 'Durable Object', true],
    ['FLIGHT', 'Durable Object', isSharing],
    ['CREDIT', 'KV namespace', true],
  ] as const
  const missing = needed.flatMap(([name, kind, isNeeded]) => {
    if (!isNeeded || env[name] !== undefined) return []
    const why = name === 'FLIGHT' ? ', and a route has a cache' : ''
    return [`${name}: this environment has no such ${kind} binding${why}; add it to wrangler.toml`]
  })
  return [...missing, ...batchBindingFaults(env)]
}

/** What `docs/batches.toml` binds. */
export const BATCH_BINDINGS = [
  'FILES',
  'BATCH_LINES',
  'DEAD_LINES',
  'BATCHES',
  'FILE_LISTS',
] as const

/** Batches that are half switched on would take files, and run none of them. */
function batchBindingFaults(env: Environment): readonly string[] {
  const missing = BATCH_BINDINGS.filter((name) => env[name] === undefined)
  const isWhole = missing.length === 0 || missing.length === BATCH_BINDINGS.length
  if (isWhole) return []
  const rest = BATCH_BINDINGS.filter((name) => !missing.includes(name))
  return [
    `${missing.join(', ')}: batches are half switched on, by ${rest.join(', ')}; ` +
      'add the rest of docs/batches.toml to wrangler.toml, or take it all out',
  ]
}

/** Whether an operator may make clients at run time. Without one, there are none. */
export function mayMakeClients({ admin, access }: Pick<Config, 'admin' | 'access'>): boolean {
  return admin.writers.length > 0 || access !== null
}

const namesOf = ({ addresses }: { readonly addresses: readonly AlertAddress[] }): string[] =>
  addresses.map(({ name }) => name)

/** The parts of the pool that clients and groups may use, each with its place in the secret. */
function clientSelectors({ clients, groups }: Pick<ClientKeys, 'clients' | 'groups'>) {
  return [
    ...groups.map(({ id, keys }) => ({ where: `CLIENT_KEYS: group "${id}"`, keys })),
    ...clients.map(({ id, keys }) => ({ where: `CLIENT_KEYS: client "${id}"`, keys })),
  ]
}

/** A gateway that lets nobody in is not well, although nothing that was set is wrong. */
const NOBODY =
  'CLIENT_KEYS: no client key is configured, so nobody can call; set it to one or more id:token ' +
  'pairs (openssl rand -hex 32 makes a token), or set ANONYMOUS_CLIENTS to "allow"'

/** The part of the configuration that the pool needs for its decisions. It has no secret. */
export function poolConfig(config: Config): PoolConfig {
  const { routes, breaker, panicRatio, retryBudget, credit, queue, batch } = config.policy
  const alerts = alertPolicy(config.policy.alerts, namesOf({ addresses: config.alertAddresses }))
  return {
    keys: config.keys.map((key) => key.config),
    routes,
    policy: {
      ...{ breaker, panicRatio, retryBudget, credit, queue, alerts },
      batch: { share: batch.share },
    },
    clients: { clients: config.clients, groups: config.groups },
  }
}

function isUnset(value: unknown): boolean {
  return value === undefined || (typeof value === 'string' && value.trim() === '')
}

interface Read<T> {
  readonly value: T
  readonly faults: readonly string[]
}

/**
 * Reads the address that the gateway sends keys to. It must be `https:`. Plain `http:` is allowed
 * only for a loopback host, since that traffic does not leave the machine.
 */
function readUpstreamUrl(value: unknown): Read<string> {
  const given = value === undefined || value === '' ? DEFAULT_UPSTREAM_URL : value
  const url = typeof given === 'string' && URL.canParse(given) ? new URL(given) : null
  const fault = (text: string) => ({
    value: DEFAULT_UPSTREAM_URL,
    faults: [`UPSTREAM_URL: ${text}`],
  })
  if (url === null)
    return fault(`must be an absolute URL, such as ${DEFAULT_UPSTREAM_URL}, given ${shown(given)}`)
  // A `?` or `#` at the end leaves `search` and `hash` empty, but every path added to the URL would
  // become part of the query or fragment.
  if (url.username !== '' || url.password !== '' || /[?#]/.test(url.href)) {
    return fault('must not contain credentials, a query or a fragment')
  }
  const isHttp = url.protocol === 'http:' && isLoopbackHost(url.hostname)
  if (url.protocol !== 'https:' && !isHttp) {
    return fault(`must start with https: (or http: for a loopback host), given ${url.protocol}`)
  }
  return { value: url.href.replace(/\/+$/, ''), faults: [] }
}

function readAnonymous(value: unknown): Read<boolean> {
  if (value === undefined || value === 'deny') return { value: false, faults: [] }
  if (value === 'allow') return { value: true, faults: [] }
  const faults = [`ANONYMOUS_CLIENTS: must be "deny" or "allow", given ${shown(value)}`]
  return { value: false, faults }
}

/** A TOML table arrives as an object. `wrangler --var` and secrets can only carry its JSON text. */
function readPolicy(value: unknown): Read<Policy> {
  const standard = policySchema.parse({})
  const given = value === undefined || value === '' ? {} : value
  let object: unknown = given
  if (typeof given === 'string') {
    const parsed = parseJson(given)
    if (!parsed.ok) {
      const fault = `POLICY: must be a table, or the JSON text of one, and is ${parsed.fault}`
      return { value: standard, faults: [fault] }
    }
    object = parsed.value
  }
  const parsed = policySchema.safeParse(object)
  return parsed.success
    ? { value: parsed.data, faults: [] }
    : { value: standard, faults: faultsOf('POLICY', parsed.error) }
}
