import type { StreamEvent } from './api-shape.ts'
import type { Json } from './json-schema-sample.ts'
import type { Scene, Step } from './reply.ts'
import { COMMENT } from './sse.ts'
import type { Key, Settings } from './world.ts'

/** The time between two comments while there is nothing else to send. */
const COMMENT_EVERY_MS = 1000

export interface Pacing {
  readonly ttftMs: number
  readonly tokensPerSecond: number | null
  readonly jitter: number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** The key's own pacing, or that of the settings if it has none. */
export function pacingOf(key: Key | null, settings: Settings, random: () => number): Pacing {
  return {
    ttftMs: key?.ttftMs ?? settings.ttftMs,
    tokensPerSecond: key?.tokensPerSecond ?? settings.tokensPerSecond,
    jitter: settings.jitter,
    random,
  }
}

/** How long the first token takes, in milliseconds. */
function firstTokenMs(pacing: Pacing): number {
  return jittered(pacing, pacing.ttftMs)
}

/** How long each further token takes, in milliseconds. */
function tokenMs(pacing: Pacing): number {
  return pacing.tokensPerSecond === null ? 0 : jittered(pacing, 1000 / pacing.tokensPerSecond)
}

function jittered(pacing: Pacing, ms: number): number {
  if (pacing.jitter === 0) return ms
  return ms * (1 + pacing.jitter * (2 * pacing.random() - 1))
}

const encoder = new TextEncoder()

export function step(event: StreamEvent, afterMs: number): Step {
  return { kind: event.kind, bytes: encoder.encode(event.text), afterMs, tokens: event.tokens }
}

/** A whole answer as one step, after the time that its tokens take. */
export function wholeStep(body: Json | Uint8Array, tokens: number, pacing: Pacing): Step {
  const bytes = body instanceof Uint8Array ? body : encoder.encode(JSON.stringify(body))
  const generating = pacing.tokensPerSecond === null ? 0 : (1000 * tokens) / pacing.tokensPerSecond
  return {
    kind: 'body',
    bytes,
    afterMs: firstTokenMs(pacing) + jittered(pacing, generating),
    tokens,
  }
}

/** Comments, one at once and then at intervals until `totalMs`, and the wait after the last one. */
function waitingComments(
  totalMs: number,
  everyMs: number = COMMENT_EVERY_MS,
): { steps: Step[]; restMs: number } {
  const steps = [step(COMMENT, 0)]
  let restMs = totalMs
  while (restMs > everyMs) {
    steps.push(step(COMMENT, everyMs))
    restMs -= everyMs
  }
  return { steps, restMs }
}

/** The events of a stream at the given pace: comments until the first token, then the tokens. */
export function paced(
  events: readonly StreamEvent[],
  pacing: Pacing,
  waiting: { totalMs: number; everyMs?: number },
): Step[] {
  const { steps, restMs } = waitingComments(waiting.totalMs, waiting.everyMs)
  for (const [index, event] of events.entries()) {
    if (index === 0) steps.push(step(event, restMs))
    else steps.push(step(event, event.kind === 'output' ? tokenMs(pacing) : 0))
  }
  return steps
}

/** The steps of a good answer, with the time that each takes. */
export function stepsOf(scene: Scene): Step[] {
  const { call, answer, pacing } = scene
  if (call.wording.kind === 'stream') {
    return paced(call.wording.events(answer), pacing, { totalMs: firstTokenMs(pacing) })
  }
  return [wholeStep(call.wording.answer(answer), answer.pieces.length, pacing)]
}
