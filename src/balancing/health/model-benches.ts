import type { ModelId } from '../ids.ts'
import { type Bench, isActive, later } from './bench.ts'

/**
 * Puts a bench on one model of many. Model names come from callers, so the number of benched models is
 * bounded. At this number ended benches are removed. If it is still reached, no further model is
 * benched.
 */
export function putBench(
  benches: Map<ModelId, Bench>,
  model: ModelId,
  bench: Bench,
  { most, nowMs }: { readonly most: number; readonly nowMs: number },
): void {
  if (benches.size >= most) {
    for (const [name, old] of benches) if (!isActive(old, nowMs)) benches.delete(name)
  }
  if (benches.size >= most && !benches.has(model)) return
  benches.set(model, later(benches.get(model) ?? null, bench, nowMs))
}
