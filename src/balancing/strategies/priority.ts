import type { Strategy } from './strategy.ts'

/** The first eligible key in configured order: a primary and its standbys. */
export const priority: Strategy = {
  choose: (eligible) =>
    eligible.reduce((first, key) => (key.position < first.position ? key : first)),
  score: (key) => key.position,
  isOrdered: true,
  best: 'lowest',
}
