import { reset } from 'cloudflare:test'
import { afterAll } from 'vitest'

/** All files run in one Worker, since another one takes a second to start. Each leaves it empty. */
afterAll(async () => {
  await reset()
})
