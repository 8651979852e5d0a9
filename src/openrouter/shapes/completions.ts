import { listOf } from '../json-value.ts'
import type { ApiShape, ErrorNotice, StreamIdentity } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { countOf } from './event-data.ts'
import { openRouterError } from './openrouter-error.ts'

/** OpenAI's legacy text completions: the stream of chat, with a text in place of a delta. */
export const completions: ApiShape = {
  ...chatCompletions,
  path: 'completions',
  // A prompt holds the whole text, so there is no opening that later turns would share.
  openingOf: () => [],
  // Each of several prompts has its own choices.
  partsOf: ({ n, prompt }) => countOf(n) * promptsIn(prompt),
  errorEvent,
}

/** A list of token ids is one prompt. */
function promptsIn(prompt: unknown): number {
  const prompts = listOf(prompt)
  return typeof prompts[0] === 'number' ? 1 : Math.max(1, prompts.length)
}

function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const chunk = {
    id: notice.id ?? '',
    object: 'text_completion',
    created: notice.created ?? 0,
    model: notice.model ?? '',
    choices: [{ index: 0, text: '', finish_reason: 'error', native_finish_reason: null }],
    ...openRouterError(notice),
  }
  return `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`
}
