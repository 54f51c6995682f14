// Lays rows of a ring of features one after the other, in the order that the host names, for heads that read no ring.
//
// Block i writes row i of `dense`, (windows * steps, dim), from row sources[i] of `ring`, (rings * ring_rows, dim); a
// negative source is padding and becomes zeros: what lies there from before may be no number, even under a mask.
extern "C" __global__ void gather_rows(const float *ring, const int *sources, float *dense, int dim)
{
    int source = sources[blockIdx.x];
    const float *from = ring + (long long)source * dim;
    float *to = dense + (long long)blockIdx.x * dim;
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        to[i] = source < 0 ? 0.0f : from[i];
}
