/** The steps of a request that are worth a span. */
export type SpanName = 'pool.exchange' | 'attempt' | 'relay'

/**
 * What a span says. Spans leave this gateway for whoever collects them, so these are names and numbers:
 * no secret, and of prompts and answers nothing.
 */
export interface SpanFacts {
  readonly 'switchyard.key'?: string
  /** Which attempt of its request it is, from 1. */
  readonly 'switchyard.attempt'?: number
  readonly 'switchyard.outcome'?: string
  /** The row of the table of faults, and whose fault it was. */
  readonly 'switchyard.row'?: string
  readonly 'switchyard.fault'?: string
  /** What an exchange asked for, and what it gave back. */
  readonly 'switchyard.lease_requests'?: number
  readonly 'switchyard.settlements'?: number
  readonly 'gen_ai.request.model'?: string
  readonly 'http.response.status_code'?: number
}

/** A step of a request. What it finds out it notes for its span. */
export type SpanWork<T> = (note: (facts: SpanFacts) => void) => Promise<T>

/** Does a step in a span, if the request is traced. */
export type EnterSpan = <T>(name: SpanName, work: SpanWork<T>) => Promise<T>

/** Does a step, in a span where there are any. */
export function inSpan<T>(
  { span }: { readonly span?: EnterSpan },
  name: SpanName,
  work: SpanWork<T>,
): Promise<T> {
  return span === undefined ? work(noteNothing) : span(name, work)
}

const noteNothing = (): void => undefined
