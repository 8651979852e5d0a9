import production, { KeyPool } from '../../../src/index.ts'

export { KeyPool }

/** Answers on a port of its own with what the pool's object shows. */
export const counter = {
  async fetch(_request, env) {
    return Response.json(await env.KEY_POOL.getByName('pool/default/0').snapshot())
  },
} satisfies ExportedHandler<Env>

export default production
