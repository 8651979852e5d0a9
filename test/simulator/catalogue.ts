import { EMBEDDING_MODELS, findModel, MODELS, type Model } from './models.ts'
import { type Endpoint, endpointsOf, pricingOf } from './prices.ts'
import { json, type Reply } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Settings } from './world.ts'

const CACHED = {
  'cache-control': 'public, max-age=300, stale-while-revalidate=3600, stale-if-error=3600',
}
const DEFAULT_LIMIT = 500
const MAX_LIMIT = 1000
const PARAMETERS = ['max_tokens', 'temperature', 'tools', 'tool_choice', 'response_format']

const architecture = {
  modality: 'text->text',
  input_modalities: ['text'],
  output_modalities: ['text'],
  tokenizer: 'Other',
  instruct_type: null,
}

const listed = (model: Model, settings: Settings) => ({
  id: model.id,
  canonical_slug: model.id.replace(/:free$/, ''),
  name: model.name,
  created: 1_734_312_000,
  description: 'A simulated model.',
  context_length: model.contextLength,
  architecture,
  pricing: pricingOf(model, settings),
  top_provider: {
    context_length: model.contextLength,
    max_completion_tokens: model.maxOutputTokens,
    is_moderated: false,
  },
  per_request_limits: null,
  supported_parameters: model.reasons ? [...PARAMETERS, 'reasoning'] : PARAMETERS,
  default_parameters: null,
  supported_voices: null,
  links: { details: `/api/v1/models/${model.id}/endpoints` },
})

const endpoint = (model: Model, { tag, pricing, maxCompletionTokens }: Endpoint) => ({
  name: `${model.provider} | ${model.id}`,
  model_id: model.id,
  model_name: model.name,
  tag,
  provider_name: model.provider,
  context_length: model.contextLength,
  max_completion_tokens: maxCompletionTokens,
  max_prompt_tokens: null,
  pricing,
  quantization: null,
  status: 0,
  supported_parameters: PARAMETERS,
  supports_implicit_caching: false,
  uptime_last_5m: 100,
  uptime_last_30m: 99.9,
  uptime_last_1d: 99.8,
  latency_last_30m: null,
  throughput_last_30m: null,
})

const listedEmbedding = (model: Model, settings: Settings) => ({
  ...listed(model, settings),
  architecture: {
    ...architecture,
    modality: 'text->embeddings',
    output_modalities: ['embeddings'],
  },
})

/** Models of tests, such as `sim/…`, once a test has set their price. */
function pricedModels({ prices }: Settings): readonly Model[] {
  const known = new Set([...MODELS, ...EMBEDDING_MODELS].map(({ id }) => id))
  return Object.keys(prices).flatMap((id) => (known.has(id) ? [] : (findModel(id) ?? [])))
}

function modelList(url: URL, settings: Settings): Reply {
  const all = [...MODELS, ...pricedModels(settings)].map((model) => listed(model, settings))
  if (!url.searchParams.has('offset') && !url.searchParams.has('limit')) {
    return json(
      200,
      { data: all, total_count: all.length, links: { next: null } },
      { headers: CACHED },
    )
  }
  const offset = Number(url.searchParams.get('offset') ?? 0)
  const limit = Math.min(MAX_LIMIT, Number(url.searchParams.get('limit') ?? DEFAULT_LIMIT))
  const data = all.slice(offset, offset + limit)
  const more = offset + limit < all.length
  const next = more ? `/api/v1/models?offset=${offset + limit}&limit=${limit}` : null
  return json(200, { data, total_count: all.length, links: { next } }, { headers: CACHED })
}

function providers(): Reply {
  const names = [...new Set(MODELS.map((model) => model.provider))]
  const data = names.map((name) => ({
    name,
    slug: name.toLowerCase().replaceAll(' ', '-'),
    privacy_policy_url: null,
    terms_of_service_url: null,
    status_page_url: null,
    headquarters: 'US',
    datacenters: ['US'],
  }))
  return json(200, { data }, { headers: CACHED })
}

/** The reply of a public list, which needs no key; null if the path is no such list. */
export function catalogue(visit: Visit): Reply | null {
  if (visit.entry.method !== 'GET') return null
  const settings = settingsOf(visit)
  const cached = (data: unknown) => json(200, { data }, { headers: CACHED })
  switch (visit.entry.path) {
    case '/models':
      return modelList(visit.url, settings)
    case '/models/count':
      return cached({ count: MODELS.length })
    case '/embeddings/models':
      return cached(EMBEDDING_MODELS.map((model) => listedEmbedding(model, settings)))
    case '/providers':
      return providers()
    case '/endpoints/zdr':
      return cached(
        MODELS.filter((model) => model.provider === 'DeepInfra').flatMap((model) =>
          endpointsOf(model, settings).map((one) => endpoint(model, one)),
        ),
      )
    default:
      return oneModel(visit.entry.path, settings)
  }
}

function oneModel(path: string, settings: Settings): Reply | null {
  const match = /^\/model\/(.+)$/.exec(path) ?? /^\/models\/(.+)\/endpoints$/.exec(path)
  if (match === null) return null
  const model = [...MODELS, ...pricedModels(settings)].find(({ id }) => id === match[1])
  if (model === undefined) return null
  const data = listed(model, settings)
  if (path.startsWith('/model/')) return json(200, { data }, { headers: CACHED })
  const endpoints = endpointsOf(model, settings).map((one) => endpoint(model, one))
  return json(200, { data: { ...data, endpoints } }, { headers: CACHED })
}
