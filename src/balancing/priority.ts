import type { Balanced, NonEmpty } from './selection.ts'

/** The first eligible key in configured order: primary and standby. */
export function priority<K extends Balanced>(eligible: NonEmpty<K>): K {
  return eligible.reduce((first, key) => (key.position < first.position ? key : first))
}
