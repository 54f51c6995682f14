// Copies rows of an encoder's output to where they belong in a ring of features, without the host knowing them.
//
// Block i takes row i of `features`, (rows, dim), to row targets[i] of `ring`, (rings * ring_rows, dim); a negative target
// is skipped: context of a chunk of sound, or padding of a batch. A row with a NaN or an infinity is written as zeros
// and tells of itself in faults[ring]: even a masked NaN would poison what attends to it.
extern "C" __global__ void scatter_rows(const float *features, const int *targets, float *ring, int *faults, int dim,
                                        int ring_rows)
{
    int target = targets[blockIdx.x];
    if (target < 0)
        return;
    const float *from = features + (long long)blockIdx.x * dim;
    float *to = ring + (long long)target * dim;
    int bad = 0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        bad |= !isfinite(from[i]);
    bad = __syncthreads_or(bad);
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        to[i] = bad ? 0.0f : from[i];
    if (bad && threadIdx.x == 0)
        atomicExch(&faults[target / ring_rows], 1);
}
