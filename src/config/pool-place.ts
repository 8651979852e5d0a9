import { shown } from './fields.ts'

/** Cloudflare's location hints. https://developers.cloudflare.com/durable-objects/reference/data-location/ */
const LOCATIONS = [
  ...(['wnam', 'enam', 'sam', 'weur', 'eeur'] as const),
  ...(['apac', 'apac-ne', 'apac-se', 'oc', 'afr', 'me'] as const),
] as const

/** Cloudflare's jurisdictions. */
const JURISDICTIONS = ['eu', 'us', 'fedramp', 'fedramp-high'] as const

/** Where the pool's object lives. */
export interface PoolPlace {
  /** A wish, which counts when the object is called for the first time; null for near that call. */
  readonly location: (typeof LOCATIONS)[number] | null
  /** A promise of Cloudflare's. In another jurisdiction the same name is another object. */
  readonly jurisdiction: (typeof JURISDICTIONS)[number] | null
}

export const ANYWHERE: PoolPlace = { location: null, jurisdiction: null }

/** Reads `POOL_LOCATION` and `POOL_JURISDICTION`. */
export function readPoolPlace(
  location: unknown,
  jurisdiction: unknown,
): { readonly value: PoolPlace; readonly faults: readonly string[] } {
  const faults: string[] = []
  const read = <const Word extends string>(
    name: string,
    value: unknown,
    words: readonly Word[],
  ) => {
    if (value === undefined || (typeof value === 'string' && value.trim() === '')) return null
    const word = words.find((known) => known === value)
    if (word !== undefined) return word
    const list = words.map((known) => `"${known}"`).join(', ')
    faults.push(`${name}: must be one of ${list}, or empty, given ${shown(value)}`)
    return null
  }
  const value = {
    location: read('POOL_LOCATION', location, LOCATIONS),
    jurisdiction: read('POOL_JURISDICTION', jurisdiction, JURISDICTIONS),
  }
  return { value, faults }
}
