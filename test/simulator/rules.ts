import { z } from 'zod'
import { type FaultParams, faultParamsSchema } from './fault-params.ts'
import { FAULT_NAMES } from './faults.ts'

export const faultNameSchema = z.string().refine((name) => FAULT_NAMES.includes(name), {
  error: (issue) =>
    `there is no fault "${String(issue.input)}"; the catalogue: ${FAULT_NAMES.join(' ')}`,
})

export const ruleSchema = z.strictObject({
  fault: faultNameSchema,
  params: faultParamsSchema.prefault({}),
  /** All that are given have to match. Without `path` a rule only strikes inference. */
  match: z
    .strictObject({
      key: z.string().optional(),
      account: z.string().optional(),
      model: z.string().optional(),
      /** Below /api/v1, like `/key`; `*` is every path. */
      path: z.string().optional(),
    })
    .prefault({}),
  /** How often it strikes before it is used up; without it, always. */
  times: z.number().int().positive().optional(),
  /** How likely it strikes, from the seeded generator of the settings. */
  probability: z.number().min(0).max(1).optional(),
})
export type RuleInput = z.input<typeof ruleSchema>

export interface Rule {
  readonly id: number
  readonly rule: z.infer<typeof ruleSchema>
  struck: number
}

/** What rules look at. */
export interface Target {
  readonly key: string | null
  readonly account: string | null
  readonly model: string | null
  readonly path: string
  readonly inference: boolean
}

/** The first rule that strikes the target, counted as used; null when none does. */
export function strikingRule(
  rules: readonly Rule[],
  target: Target,
  random: () => number,
): { fault: string; params: FaultParams } | null {
  for (const candidate of rules) {
    const { rule } = candidate
    if (rule.times !== undefined && candidate.struck >= rule.times) continue
    if (!matches(rule.match, target)) continue
    if (rule.probability !== undefined && random() >= rule.probability) continue
    candidate.struck += 1
    return { fault: rule.fault, params: rule.params }
  }
  return null
}

function matches(match: Rule['rule']['match'], target: Target): boolean {
  const wanted = (value: string | undefined, actual: string | null) =>
    value === undefined || value === actual
  const onPath =
    match.path === undefined ? target.inference : match.path === '*' || match.path === target.path
  return (
    onPath &&
    wanted(match.key, target.key) &&
    wanted(match.account, target.account) &&
    wanted(match.model, target.model)
  )
}

/** Mulberry32: the same seed gives the same faults, in the order in which requests arrive. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
