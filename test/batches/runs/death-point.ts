/** Where something may die: at a call, before or after what it does. */
export interface Point {
  readonly at: string
  readonly when: 'before' | 'after'
  /** Which side of the call: who makes it, or who carries it out. */
  readonly dies: 'consumer' | 'object'
}

/** Asked at each point: whether something dies there. */
export type Dies = (point: Point) => boolean

/** The promise of somebody who is dead. */
export const never = () => new Promise<never>(() => undefined)
