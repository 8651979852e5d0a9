import { type PoolPlace, readPoolPlace } from '../config/pool-place.ts'
import type { KeyPool } from './durable-object.ts'

/** The number leaves room for shards: later each shard may hold a share of the pool's keys. */
export const OBJECT_NAME = 'pool/default/0'

/** The pool's object by a name that tells those of two jurisdictions apart. */
export function objectLabel({ jurisdiction }: Pick<PoolPlace, 'jurisdiction'>): string {
  return jurisdiction === null ? OBJECT_NAME : `${OBJECT_NAME}@${jurisdiction}`
}

/**
 * A fresh stub of the pool's object. Every stub names the place: whichever of them is called first
 * decides where the object lives for ever. Throws where the runtime has no jurisdictions, as the local
 * one: an object elsewhere would break what the operator has asked for.
 */
export function poolStub(
  namespace: DurableObjectNamespace<KeyPool>,
  { location, jurisdiction }: PoolPlace,
  options: DurableObjectNamespaceGetDurableObjectOptions = {},
): DurableObjectStub<KeyPool> {
  const objects = jurisdiction === null ? namespace : namespace.jurisdiction(jurisdiction)
  const hint = location === null ? {} : { locationHint: location }
  return objects.getByName(OBJECT_NAME, { ...options, ...hint })
}

/** The place by an object's own bindings. That of a faulty variable is left out: no request gets that far. */
export function placeOf(env: object): PoolPlace {
  const { POOL_LOCATION, POOL_JURISDICTION }: Readonly<Record<string, unknown>> = { ...env }
  return readPoolPlace(POOL_LOCATION, POOL_JURISDICTION).value
}
