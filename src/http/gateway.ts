import { type Config, type ConfigResult, readConfig } from '../config/config.ts'
import type { Dispatcher } from '../gateway/dispatch.ts'
import { createKeyLookups } from '../gateway/key-lookups.ts'
import { createKeyRing, type KeyRing } from '../gateway/key-ring.ts'
import { createLeaseBroker } from '../gateway/lease-broker.ts'
import type { Ports } from '../gateway/ports.ts'
import { createPoolClient, type PoolClient } from '../key-pool/client.ts'

/** The parts of the gateway that live as long as the isolate. */
export interface Gateway {
  readonly config: Config
  readonly pool: PoolClient
  readonly ring: KeyRing
  readonly ports: Ports
}

export type GatewayResult =
  | { readonly ok: true; readonly gateway: Gateway }
  | { readonly ok: false; readonly faults: readonly string[] }

const gateways = new WeakMap<object, GatewayResult>()

/**
 * The gateway of an environment, made once per isolate. The finished result is
 * kept, not its promise: a promise that another request created may never settle
 * once that request is over.
 *
 * @param onFaults told of a faulty configuration, once
 */
export async function gatewayOf(
  env: Env,
  ports: Ports,
  onFaults: (faults: readonly string[]) => void,
): Promise<GatewayResult> {
  const known = gateways.get(env)
  if (known !== undefined) return known
  const result = createGateway(await readConfig({ ...env }), env, ports)
  const settled = gateways.get(env)
  if (settled !== undefined) return settled
  gateways.set(env, result)
  if (!result.ok) onFaults(result.faults)
  return result
}

function createGateway(result: ConfigResult, env: Env, ports: Ports): GatewayResult {
  if (!result.ok) return result
  const { config } = result
  const ring = createKeyRing(config.keys)
  return { ok: true, gateway: { config, ring, ports, pool: createPoolClient(env.KEY_POOL) } }
}

/** What one request needs to be dispatched. */
export function dispatcherOf(
  { config, pool, ring, ports }: Gateway,
  background: (work: Promise<unknown>) => void,
): Dispatcher {
  const { upstreamUrl, policy } = config
  const lookups = createKeyLookups(ports, upstreamUrl, ring)
  const { onPoolUnavailable } = policy
  const leases = createLeaseBroker(ports, pool, ring, lookups, onPoolUnavailable, background)
  return { ports, leases, ring, upstreamUrl, policy }
}
