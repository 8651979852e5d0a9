import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from './environment.ts'

const pathFaults = (extra_paths: unknown) => faultsOf({ POLICY: { extra_paths } })

describe('extra paths', () => {
  it('are opened as they are written', async () => {
    const extra_paths = ['videos', 'audio/translations', 'messages/batches', 'x_1/y-2.z', 'keyword']
    expect((await configOf({ POLICY: { extra_paths } })).policy.extraPaths).toEqual(extra_paths)
  })

  it.each([
    '/videos',
    'videos/',
    'a//b',
    '.',
    '..',
    'videos/..',
    'videos/../keys',
    './videos',
    'a..b',
    'Videos',
    'videos?x=1',
    'videos#x',
    'videos/*',
    ':id',
    'a%2fb',
    'a\\b',
    'https://example.com',
  ])('%s is no path', async (path) => {
    expect(await pathFaults(['good', path])).toEqual([
      `POLICY.extra_paths[1]: must be a path such as "videos" or "audio/translations": segments with single slashes between them, each of lower-case letters, digits, "_", "-" and single dots, with a letter or digit first, given ${JSON.stringify(path)}`,
    ])
  })

  it.each([
    ...['key', 'keys', 'credits', 'activity', 'analytics', 'byok', 'guardrails', 'workspaces'],
    ...['auth', 'organization', 'observability', 'scim', 'generation', 'models', 'providers'],
    ...['oauth', 'vault', 'containers', 'interns', 'end-users', 'private-endpoints'],
    ...['endpoints', 'files', 'presets', 'model', 'datasets', 'benchmarks'],
  ])('%s and what lies below it is not opened: a key would go along', async (path) => {
    for (const reserved of [path, `${path}/x`, `${path}/x/y`]) {
      expect(await pathFaults([reserved])).toEqual([
        `POLICY.extra_paths[0]: must not be a path for management, stored data or public lists: the gateway never forwards a request to those with a key, given "${reserved}"`,
      ])
    }
    expect(await pathFaults([`x/${path}`])).toEqual([])
  })

  it.each([
    ...['chat/completions', 'completions', 'responses', 'messages', 'messages/count_tokens'],
    ...['embeddings', 'embeddings/models', 'rerank', 'images', 'audio/speech'],
    'audio/transcriptions',
  ])('%s is served already', async (path) => {
    expect(await pathFaults([path])).toEqual([
      `POLICY.extra_paths[0]: must not be a path that the gateway already serves, given "${path}"`,
    ])
  })

  it.each(['v1/videos', 'api/v1/videos', 'v1'])(
    '%s has the prefix once too often',
    async (path) => {
      expect(await pathFaults([path])).toEqual([
        `POLICY.extra_paths[0]: must be relative to /api/v1, for example "videos", given "${path}"`,
      ])
    },
  )

  it('are texts of 100 characters at most, and are 50 at most', async () => {
    const text = 'must be a text of 1 to 100 characters without spaces or control characters, given'
    expect(await pathFaults(['v'.repeat(100)])).toEqual([])
    expect(await pathFaults(['', 'a b', 5])).toEqual([
      `POLICY.extra_paths[0]: ${text} ""`,
      `POLICY.extra_paths[1]: ${text} "a b"`,
      `POLICY.extra_paths[2]: ${text} 5`,
    ])
    expect(await pathFaults(['v'.repeat(101)])).toHaveLength(1)
    const many = Array.from({ length: 51 }, (_, i) => `p${i}`)
    expect(await pathFaults(many.slice(1))).toEqual([])
    expect(await pathFaults(many)).toHaveLength(1)
    expect(await pathFaults('videos')).toEqual([
      'POLICY.extra_paths: must be a list of 0 to 50 elements, given "videos"',
    ])
  })

  it('do not occur twice', async () => {
    expect(await pathFaults(['videos', 'x', 'videos'])).toEqual([
      'POLICY.extra_paths[2]: must not occur twice, given "videos"',
    ])
  })
})
