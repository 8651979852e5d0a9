/** A source of uniform numbers in [0, 1), like `Math.random`; seeded in tests. */
export type Random = () => number
