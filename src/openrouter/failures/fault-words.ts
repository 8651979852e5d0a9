import type { BlameRowId } from './blame.ts'
import type { UpstreamFailure } from './upstream-failure.ts'

/** What each row of the table of faults is about, for people who read the log. */
const WORDS = {
  '1': 'OpenRouter was not reached, or sent no usable answer',
  '2': 'the account’s own provider key failed',
  '3': 'the model’s provider failed',
  '4': 'OpenRouter rejected the key',
  '5': 'the key has spent its limit',
  '6': 'the request is too large for what the key may spend',
  '7': 'running requests hold the account’s credit',
  '8': 'the request is too large for what the account has left',
  '9': 'the account has no credit',
  '10': 'the account’s limit of free requests was reached',
  '11': 'the limit of a new account was reached',
  '12': 'the key was asked too often',
  '13': 'a policy of the account refused the request',
  '13b': 'a budget of the organization is spent',
  '14': 'the content was refused',
  '15': 'the request has a mistake',
  '16': 'the model is down, or no provider has it',
  '16b': 'OpenRouter failed',
  '17': 'nobody is at fault: the client left, or its time was over',
} as const satisfies Readonly<Record<BlameRowId, string>>

const CLOCKS = {
  headers: 'OpenRouter sent no headers in time',
  first_output: 'the model sent no output in time',
  idle: 'the answer stopped in the middle',
  total: 'the request took too long',
} as const

/** What went wrong in an attempt, in words. It quotes nothing of the answer. */
export function inWords(row: BlameRowId, failure: UpstreamFailure): string {
  switch (failure.kind) {
    case 'timeout':
      return CLOCKS[failure.clock]
    case 'network':
      return 'the connection to OpenRouter failed'
    case 'truncated':
      return 'the answer broke off'
    case 'response':
      return WORDS[row]
  }
}
