import type { VirtualTime } from './virtual-time.ts'

/** What happens on an upstream body, one step after the other. */
export type BodyStep =
  | { readonly afterMs?: number; readonly bytes: Uint8Array }
  | { readonly afterMs?: number; readonly text: string }

/** How one upstream call goes. */
export interface Script {
  /** `refused`: the connection breaks before an answer. `hang`: no answer ever comes. */
  readonly connection?: 'answers' | 'refused' | 'hang'
  readonly headersAfterMs?: number
  /** The answer comes even if the call is aborted, as if it had been on its way already. */
  readonly comesAnyway?: boolean
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: readonly BodyStep[]
  /** What follows the last step: the end, a broken connection, or nothing. */
  readonly end?: 'close' | 'error' | 'hang'
  readonly endAfterMs?: number
}

export interface UpstreamCallRecord {
  readonly url: string
  readonly path: string
  readonly method: string
  readonly headers: Headers
  readonly body: Uint8Array
  readonly atMs: number
  /** When our side aborted the fetch, or null. */
  abortedAtMs: number | null
  /** When our side stopped reading the body, or null. */
  cancelledAtMs: number | null
  /** Whether upstream still works on the call: it has not ended its answer and was not stopped. */
  isOpen: boolean
  /** Feeds a body whose script says `hang`. */
  push(bytes: Uint8Array | string): void
  finish(how: 'close' | 'error'): void
}

export interface ScriptedUpstream {
  readonly calls: UpstreamCallRecord[]
  /** Sets the scripts of the next calls to a path, one a call. The last script repeats. */
  on(path: string, ...scripts: Script[]): void
  fetch(url: string, init: RequestInit): Promise<Response>
}

const encoder = new TextEncoder()

export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text)
}

/** An upstream that follows the test's scripts and records its calls. */
export function createScriptedUpstream(time: VirtualTime, baseUrl: string): ScriptedUpstream {
  const calls: UpstreamCallRecord[] = []
  const scripts = new Map<string, Script[]>()

  const scriptOf = (path: string): Script => {
    const queue = scripts.get(path) ?? []
    const next = queue.length > 1 ? queue.shift() : queue[0]
    if (next === undefined) throw new Error(`No script for ${path}`)
    return next
  }

  return {
    calls,
    on(path, ...given) {
      scripts.set(path, given)
    },
    fetch(url, init) {
      const path = new URL(url).pathname.slice(new URL(baseUrl).pathname.length + 1)
      const call = recordOf(url, path, init, time)
      calls.push(call)
      return answer(scriptOf(path), call, init.signal ?? null, time)
    },
  }
}

export type MutableCall = UpstreamCallRecord & { abort: () => void }

export function recordOf(
  url: string,
  path: string,
  init: RequestInit,
  time: VirtualTime,
): MutableCall {
  const call: MutableCall = {
    url,
    path,
    method: init.method ?? 'GET',
    headers: new Headers(init.headers),
    body: init.body instanceof Uint8Array ? init.body.slice() : new Uint8Array(0),
    atMs: time.nowMs(),
    abortedAtMs: null,
    cancelledAtMs: null,
    isOpen: true,
    push: () => undefined,
    finish: () => undefined,
    abort: () => undefined,
  }
  init.signal?.addEventListener('abort', () => {
    call.abortedAtMs ??= time.nowMs()
    call.abort()
  })
  return call
}

/** Answers one call as its script says. */
export function answer(
  script: Script,
  call: MutableCall,
  signal: AbortSignal | null,
  time: VirtualTime,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const refuse = () => {
      call.isOpen = false
      reject(new DOMException('The operation was aborted', 'AbortError'))
    }
    if (signal?.aborted) return refuse()
    if (script.connection === 'hang') {
      call.abort = refuse
      return
    }
    const proceed = () => {
      call.isOpen = script.connection !== 'refused'
      if (call.isOpen) resolve(responseOf(script, call, time))
      else reject(new TypeError('Network connection lost.'))
    }
    const headersAfterMs = script.headersAfterMs ?? 0
    if (headersAfterMs === 0) return proceed()
    const cancel = time.timer(headersAfterMs, proceed)
    call.abort = () => {
      if (script.comesAnyway) return
      cancel()
      refuse()
    }
  })
}

function responseOf(script: Script, call: MutableCall, time: VirtualTime): Response {
  let cancelTimer = (): void => undefined
  const feed = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    call.push = (bytes) => {
      if (call.isOpen) controller.enqueue(typeof bytes === 'string' ? bytesOf(bytes) : bytes)
    }
    call.finish = (how) => {
      if (!call.isOpen) return
      call.isOpen = false
      cancelTimer()
      if (how === 'close') controller.close()
      else controller.error(new TypeError('Network connection lost.'))
    }
    call.abort = () => call.finish('error')
  }
  const after = (ms: number | undefined, happen: () => void) => {
    if (ms === undefined || ms === 0) happen()
    else cancelTimer = time.timer(ms, happen)
  }
  const play = ([step, ...rest]: readonly BodyStep[]): void => {
    if (step === undefined) {
      const { end = 'close' } = script
      if (end !== 'hang') after(script.endAfterMs, () => call.finish(end))
      return
    }
    after(step.afterMs, () => {
      call.push('text' in step ? step.text : step.bytes)
      play(rest)
    })
  }
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      feed(controller)
      play(script.body ?? [])
    },
    cancel() {
      call.isOpen = false
      cancelTimer()
      call.cancelledAtMs ??= time.nowMs()
    },
  })
  const { status = 200, headers = {} } = script
  return new Response(stream, { status, headers })
}

const EVENT_STREAM = { 'content-type': 'text/event-stream' }
const JSON_TYPE = { 'content-type': 'application/json' }

/** A stream whose texts come at once, each as its own chunk. */
export function streamOf(...texts: readonly string[]): Script {
  return { headers: EVENT_STREAM, body: texts.map((text) => ({ text })) }
}

/** A stream that sends these texts and then stays open until the test sends more or ends it. */
export function openStream(...texts: readonly string[]): Script {
  return { ...streamOf(...texts), end: 'hang' }
}

/** A whole JSON answer. */
export function jsonAnswer(
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Script {
  return {
    status,
    headers: { ...JSON_TYPE, ...headers },
    body: [{ text: typeof body === 'string' ? body : JSON.stringify(body) }],
  }
}

/** An error answer in OpenRouter's form. */
export function errorAnswer(
  status: number,
  message: string,
  metadata: Readonly<Record<string, unknown>> = {},
  headers: Readonly<Record<string, string>> = {},
): Script {
  return jsonAnswer(status, { error: { code: status, message, metadata } }, headers)
}
