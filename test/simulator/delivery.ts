import { keepGeneration } from './generations.ts'
import type { Ended } from './journal.ts'
import { charge, round } from './money.ts'
import type { Played, Reply, Scene, Step } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'

/** How long a silent request stays open before the simulator ends it. */
const FOREVER_MS = 900_000

/** The pause before a connection breaks. In it, the headers and the written bytes are sent. */
const FLUSH_MS = 25

/** OpenRouter is behind Cloudflare. A gateway must not pass the cookie on. */
const EDGE_HEADERS = {
  'access-control-allow-origin': '*',
  'cf-ray': '8f0c0ffee0c0ffee-SIM',
  server: 'cloudflare',
  'set-cookie': '__cf_bm=simulated; path=/; HttpOnly; Secure; SameSite=None',
  vary: 'Accept-Encoding',
}

/** Thrown to end the connection before any header, which only the HTTP server can do. */
export class ConnectionCut extends Error {
  override readonly name = 'ConnectionCut'
}

/** Waits; returns false if the signal interrupted the wait. */
function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false)
    const interrupted = () => {
      clearTimeout(timer)
      resolve(false)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', interrupted)
      resolve(true)
    }, ms)
    signal.addEventListener('abort', interrupted, { once: true })
  })
}

/** Sends the reply and, when it has ended, records how it ended. */
export async function deliver(visit: Visit, reply: Reply, signal: AbortSignal): Promise<Response> {
  switch (reply.kind) {
    case 'whole': {
      const { status, error } = reply
      end(visit, { status, outcome: error === null ? 'completed' : 'failed', error, costUsd: 0 })
      return new Response(reply.body, { status, headers: { ...EDGE_HEADERS, ...reply.headers } })
    }
    case 'played':
      return played(visit, reply, signal)
    case 'late':
      if (await pause(reply.ms, signal)) return deliver(visit, reply.after, signal)
      return aborted(visit, 'slow-headers')
    case 'hang':
      await pause(FOREVER_MS, signal)
      return aborted(visit, reply.error)
    case 'cut':
      end(visit, { status: null, outcome: 'failed', error: reply.error, costUsd: 0 })
      throw new ConnectionCut(reply.error)
  }
}

function aborted(visit: Visit, error: string): Response {
  end(visit, { status: null, outcome: 'aborted', error, costUsd: 0 })
  return new Response(null, { status: 499 })
}

function end(visit: Visit, ended: Ended): void {
  visit.release()
  visit.simulation.journal.end(visit.entry, ended)
}

function played(visit: Visit, reply: Played, signal: AbortSignal): Response {
  const steps = settingsOf(visit).splitUtf8 ? reply.steps.flatMap(inPieces) : reply.steps
  const headers = { ...EDGE_HEADERS, ...reply.headers }
  const body = playback(visit, { ...reply, steps }, signal)
  return new Response(body, { status: reply.status, headers })
}

/** The body: each step is one write, at its time. The first cause that ends it is recorded. */
function playback(visit: Visit, reply: Played, outer: AbortSignal): ReadableStream<Uint8Array> {
  const interrupt = new AbortController()
  const signal = AbortSignal.any([outer, interrupt.signal])
  let sent = 0
  let tokens = 0
  let hasToldUsage = false
  const finish = (outcome: Ended['outcome']) => {
    if (visit.entry.outcome !== 'open') return
    const isFull = outcome === 'completed' || hasToldUsage
    const usd = bill(visit, reply, { isFull, tokens })
    if (outcome === 'completed') visit.remember()
    const ended = { status: reply.status, outcome, error: reply.error, costUsd: usd }
    keepGeneration(visit, reply, ended)
    end(visit, ended)
  }
  // If a caller leaves while nothing is written, only this signal shows it; cancel() does not.
  signal.addEventListener('abort', () => finish('aborted'), { once: true })
  const stop = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    if (reply.ending === 'silence' && !(await pause(FOREVER_MS, signal))) {
      return controller.error(new Error('interrupted'))
    }
    if (reply.ending === 'error') await pause(FLUSH_MS, signal)
    finish(reply.error === null ? 'completed' : 'failed')
    if (reply.ending === 'close') controller.close()
    else controller.error(new Error('The simulator broke the connection.'))
  }
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = reply.steps[sent]
        if (next === undefined) return stop(controller)
        if (next.afterMs > 0 && !(await pause(next.afterMs, signal))) {
          return controller.error(new Error('interrupted'))
        }
        sent += 1
        tokens += next.tokens
        hasToldUsage ||= next.kind === 'usage'
        controller.enqueue(next.bytes)
        // At once: many clients hang up after the last event, and that is no abort.
        if (sent === reply.steps.length && reply.ending === 'close') await stop(controller)
      },
      cancel() {
        finish('aborted')
        interrupt.abort()
      },
    },
    { highWaterMark: 0 },
  )
}

/**
 * Charges the generated tokens. A whole answer is charged in full, also if the caller has left, and so
 * is a stream that has told what it cost.
 */
function bill(visit: Visit, reply: Played, ended: { isFull: boolean; tokens: number }) {
  const { key, account } = visit
  const { scene } = reply
  if (scene === null || key === null || account === null) return 0
  const { usage } = scene.answer
  const full = ended.isFull || scene.call.wording.kind === 'whole'
  const usd = full ? usage.costUsd : partialUsd(scene, ended.tokens)
  if (usd !== 0) charge(account, key, usd, visit.nowMs)
  const { byokFee } = scene.charges
  visit.simulation.charges.push({
    generationId: scene.answer.id,
    key: key.name,
    account: account.id,
    model: scene.call.model,
    costUsd: usd,
    upstreamUsd: full ? usage.upstreamUsd : round(byokFee ? usd / byokFee : usd),
  })
  return usd
}

/** The cost of a stream that ended early: nothing before its first token. */
function partialUsd({ answer, charges }: Scene, tokens: number): number {
  if (answer.usage.costUsd === 0 || tokens === 0) return 0
  const usd = answer.usage.promptUsd + tokens * charges.completionUsd
  return round(usd * (charges.byokFee ?? 1))
}

/** Splits a step into writes that end inside a field name, a character and the line ends. */
function inPieces(step: Step): Step[] {
  const { bytes } = step
  const multibyte = bytes.findIndex((byte) => byte >= 0xc0)
  const middle = multibyte === -1 ? Math.floor(bytes.length / 2) : multibyte + 1
  const cuts = [...new Set([0, 3, middle, bytes.length - 1, bytes.length])]
    .filter((cut) => cut >= 0 && cut <= bytes.length)
    .sort((a, b) => a - b)
  return cuts.slice(1).map((to, index) => ({
    ...step,
    bytes: bytes.slice(cuts[index], to),
    // With a pause between them. Otherwise the network would join the pieces again.
    afterMs: index === 0 ? step.afterMs : 1,
    tokens: index === 0 ? step.tokens : 0,
  }))
}
