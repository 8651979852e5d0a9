// The smallest possible request for each API, for tests that hold for all APIs.

/** The sound file for a form. */
export const SOUND = new Blob([new Uint8Array(40_000)], { type: 'audio/wav' })

const messages = [{ role: 'user', content: 'Wie geht’s?' }]

/** By path below /api/v1: a model and the rest of the body. */
export const REQUESTS = {
  '/chat/completions': { model: 'openai/gpt-4o-mini', messages },
  '/completions': { model: 'openai/gpt-4o-mini', prompt: 'Wie geht’s?' },
  '/responses': { model: 'openai/gpt-4o-mini', input: 'Wie geht’s?' },
  '/messages': { model: 'anthropic/claude-sonnet-4.5', max_tokens: 1000, messages },
  '/messages/count_tokens': { model: 'anthropic/claude-sonnet-4.5', messages },
  '/embeddings': { model: 'openai/text-embedding-3-small', input: ['Wie geht’s?', 'Gut.'] },
  '/rerank': {
    model: 'cohere/rerank-v3.5',
    query: 'a red fox',
    documents: ['blue whales', { text: 'the red fox' }, 'a fox'],
  },
  '/images': { model: 'google/gemini-2.5-flash-image', prompt: 'a red fox' },
  '/audio/speech': { model: 'openai/gpt-4o-mini-tts', input: 'Wie geht’s?', voice: 'alloy' },
  '/audio/transcriptions': {
    model: 'openai/whisper-1',
    input_audio: { data: 'AAAA'.repeat(10_000), format: 'wav' },
  },
} as const

export type ShapePath = keyof typeof REQUESTS

const isPath = (path: string): path is ShapePath => path in REQUESTS

export const PATHS: readonly ShapePath[] = Object.keys(REQUESTS).filter(isPath)

/** The APIs that can answer with a stream. */
export const STREAMING = [
  '/chat/completions',
  '/completions',
  '/responses',
  '/messages',
  '/images',
] as const satisfies readonly ShapePath[]
