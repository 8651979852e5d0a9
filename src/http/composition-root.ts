import { type Caller, callerOf } from '../balancing/clients/caller.ts'
import {
  type Config,
  type ConfigResult,
  mayMakeClients,
  poolConfig,
  readConfig,
} from '../config/config.ts'
import { type AnswerKeys, createAnswerKeys } from '../flight/cache-key.ts'
import { createFlightClient, type FlightClient } from '../flight/flight-client.ts'
import { createPurgeBook, type PurgeBook } from '../flight/purge-book.ts'
import { type AlertDelivery, createAlertDelivery } from '../gateway/alerts/alert-delivery.ts'
import { createSecretRedaction, type SecretRedaction } from '../gateway/answers/secret-redaction.ts'
import { ByteBudget, ISOLATE_BYTES } from '../gateway/byte-budget.ts'
import type { JourneyContext } from '../gateway/inference-request.ts'
import type { CreditCache } from '../gateway/leases/credit-cache.ts'
import {
  createGenerationLookups,
  type GenerationLookups,
} from '../gateway/leases/generation-lookups.ts'
import { createIsolateLeases, type IsolateLeases } from '../gateway/leases/isolate-leases.ts'
import { createKeyLookups, type KeyLookups } from '../gateway/leases/key-lookups.ts'
import { createKeyRing, type KeyRing } from '../gateway/leases/key-ring.ts'
import { createLeaseBroker } from '../gateway/leases/lease-broker.ts'
import type { Ports } from '../gateway/ports.ts'
import { createPoolClient, type PoolClient } from '../key-pool/pool-client.ts'
import { withOutage } from '../key-pool/pool-outage.ts'
import { createDegradedPool, type DegradedPool } from './alerts/degraded-pool.ts'
import { type ClientDirectory, createClientDirectory } from './client-directory.ts'
import { createCreditCache } from './kv-credit-cache.ts'
import { logFaults } from './log.ts'
import { createPoolSight, type PoolSight, watched } from './pool-sight.ts'
import { createPriceBook, type PriceBook } from './prices/price-book.ts'

/** The parts of the gateway that live as long as the isolate. */
export interface Gateway {
  readonly config: Config
  readonly pool: PoolClient
  readonly sight: PoolSight
  readonly ring: KeyRing
  readonly leases: IsolateLeases
  readonly redaction: SecretRedaction
  /** The clients of `CLIENT_KEYS`, by the hash of their token. */
  readonly callers: ReadonlyMap<string, Caller>
  /** The clients that were made at run time. */
  readonly directory: ClientDirectory
  readonly credit: CreditCache
  readonly prices: PriceBook
  readonly flights: FlightClient
  readonly answerKeys: AnswerKeys
  readonly purges: PurgeBook
  readonly ports: Ports
  /** Of the bodies and answers that all requests of the isolate hold. */
  readonly memory: Pick<ByteBudget, 'open'>
  /** Whether any key has a limit of tokens per minute. If not, requests need no token estimate. */
  readonly hasTokenLimits: boolean
  /** Whether any key has a `max_spend`, so that the cost of every request is to be bounded. */
  readonly hasSpendLimits: boolean
  readonly alerts: AlertDelivery
  readonly degraded: DegradedPool
}

export type GatewayResult =
  | { readonly ok: true; readonly gateway: Gateway }
  | { readonly ok: false }

/** Memory belongs to the isolate, whichever configuration a request comes with. */
export const MEMORY = new ByteBudget(ISOLATE_BYTES)

/** An invalid configuration, and when its faults were last logged, in epoch milliseconds. */
interface Misconfigured {
  readonly ok: false
  readonly faults: readonly string[]
  loggedAtMs: number
}

const gateways = new WeakMap<object, Extract<GatewayResult, { ok: true }> | Misconfigured>()

const LOG_FAULTS_EVERY_MS = 60_000

/**
 * The gateway of an environment, made once per isolate.
 *
 * Faults of the configuration are logged again while requests come, but at most once a minute: who
 * opens the log later has to find them, and a busy Worker must not fill it with them.
 */
export function gatewayOf(env: Env, ports: Ports): GatewayResult {
  const result = gateways.get(env) ?? createGateway(readConfig({ ...env }), env, ports)
  gateways.set(env, result)
  return result.ok ? result : logged(result, ports.nowMs())
}

function logged(result: Misconfigured, nowMs: number): GatewayResult {
  if (nowMs - result.loggedAtMs >= LOG_FAULTS_EVERY_MS) {
    result.loggedAtMs = nowMs
    logFaults(result.faults)
  }
  return result
}

function createGateway(result: ConfigResult, env: Env, ports: Ports) {
  if (!result.ok) return { ...result, loggedAtMs: Number.NEGATIVE_INFINITY } satisfies Misconfigured
  const { config } = result
  const alerts = createAlertDelivery(ports, config.alertAddresses)
  const policy = poolConfig(config).policy.alerts
  const pool = withOutage(createPoolClient(env.KEY_POOL, config.place), ports.nowMs)
  return {
    ok: true as const,
    gateway: {
      config,
      ports,
      pool,
      flights: createFlightClient(env.FLIGHT),
      answerKeys: createAnswerKeys(config.keys.map(({ secret }) => secret)),
      purges: createPurgeBook(pool, ports.nowMs),
      sight: createPoolSight(env.CREDIT, ports, config.place),
      ring: createKeyRing(config.keys),
      leases: createIsolateLeases(ports.uniqueId()),
      redaction: createSecretRedaction(
        config.keys.map(({ secret, config: { id } }) => ({ secret, keyId: id })),
      ),
      callers: callersOf(config),
      directory: createClientDirectory(),
      credit: createCreditCache(env.CREDIT, ports),
      prices: createPriceBook(env.CREDIT, ports, config.upstreamUrl),
      hasTokenLimits: config.keys.some((key) => key.config.tpm !== null),
      hasSpendLimits: config.keys.some((key) => key.config.maxSpend !== null),
      alerts,
      degraded: createDegradedPool({ ports, kv: env.CREDIT, policy, alerts }),
      memory: MEMORY,
    },
  }
}

function callersOf({ clients, groups }: Config): ReadonlyMap<string, Caller> {
  return new Map(
    clients.map((client) => {
      const group = groups.find(({ id }) => id === client.groupId) ?? null
      return [client.tokenSha256, callerOf(client, group)] as const
    }),
  )
}

/** Whether anybody's money is counted, so that prices have to be known. */
export function hasBudgets({ config }: Pick<Gateway, 'config'>): boolean {
  const { keys, clients, groups } = config
  return (
    // Clients that are made at run time may have budgets.
    mayMakeClients(config) ||
    keys.some((key) => key.config.maxSpend !== null) ||
    [...clients, ...groups].some(({ budgets }) => budgets.length > 0)
  )
}

/**
 * Makes the context of one request's journey.
 * @param ports with the timers of that request
 */
export function journeyContextOf(
  gateway: Gateway,
  ports: Ports,
  background: (work: Promise<unknown>) => void,
): JourneyContext {
  const { config, ring, redaction } = gateway
  const { upstreamUrl, policy } = config
  // Few requests are handed lookup duties.
  let made: KeyLookups | null = null
  const lookups: KeyLookups = (orders) => {
    made ??= keyLookupsOf(gateway)
    return made(orders)
  }
  const pool = watched(gateway.pool, gateway, background)
  const { onPoolUnavailable, spillFreeTier, spillPolicy, queue } = policy
  const leases = createLeaseBroker({
    ...{ ports, pool, ring, lookups, onPoolUnavailable, background },
    generations: (duties) => generationLookupsOf(gateway)(duties),
    deliver: gateway.alerts.deliver,
    leases: gateway.leases,
  })
  const spill = { freeTier: spillFreeTier, policy: spillPolicy }
  return { ports, leases, ring, redaction, upstreamUrl, spill, maxWaitMs: queue.maxWaitMs }
}

export function keyLookupsOf(gateway: Gateway): KeyLookups {
  const { config, ring, credit, ports } = gateway
  const { upstreamUrl } = config
  return createKeyLookups({ ports, upstreamUrl, ring, cache: credit })
}

export function generationLookupsOf({ config, ring, ports }: Gateway): GenerationLookups {
  return createGenerationLookups({ ports, upstreamUrl: config.upstreamUrl, ring })
}
