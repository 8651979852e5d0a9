/** The examples of docs/caching.md in their order, which a test in `test/flight` runs. */
export const CACHE_EXAMPLES = {
  embeddings: {
    models: ['openai/text-embedding-3-small'],
    cache: { ttl_s: 604_800, scope: 'pool' },
  },
  temperatureZero: { models: ['task:classify'], cache: { ttl_s: 3_600, scope: 'group' } },
  class: { models: ['class/*'], cache: { share: true, scope: 'group' } },
} as const
