// Turns windows, of which the host gives the first row of a ring and the number of rows, into what the head reads.
//
// A negative number of rows is that of a stream that the source has lost: what stands for it lies at the end of the
// source's ring, behind `capacity` rows of features.

// Marks the rows of whole rings that make up each source's window.
//
// Block (s, m) writes the mask of source s over the ring of stream m. `windows` has two numbers for each source of each
// stream: the first row, and how many; none for a source that wants no prediction. `streams` has four for each stream:
// where its masks begin in `masks`, how many rows a ring has, how many of them hold features, and the mask of what
// stands for the stream.
extern "C" __global__ void write_masks(const int *windows, const int *streams, int *masks)
{
    const int *stream = streams + 4 * blockIdx.y;
    const int *window = windows + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
    int rows = stream[1], capacity = stream[2], first = window[0], count = window[1];
    int *mask = masks + stream[0] + (long long)blockIdx.x * rows;
    for (int row = threadIdx.x; row < rows; row += blockDim.x) {
        int after = row - first < 0 ? row - first + capacity : row - first;
        mask[row] = row < capacity ? after < count : (count < 0 ? stream[3] : 0);
    }
}

// Lays the windows of one stream in order, for heads that cannot read a ring as it lies.
//
// Block i writes row i of `laid`, (windows * steps, dim), and its mask. `sources` has the source of each window, negative
// for one that pads the batch; `windows` has the first row and the number of rows of each. What is behind a window's end
// becomes zeros: what lies there from before may be no number, even under a mask. A window of padding alone still has
// one step that counts. `mask` is null where the head takes none.
extern "C" __global__ void gather_windows(const float *rings, const int *sources, const int *windows, float *laid,
                                          int *mask, int steps, int dim, int capacity, int ring_rows, int stand_in)
{
    int window = blockIdx.x / steps, step = blockIdx.x % steps;
    int source = sources[window], first = windows[2 * window], count = windows[2 * window + 1];
    bool lost = count < 0;
    bool inside = source >= 0 && step < (lost ? ring_rows - capacity : count);
    int row = lost ? capacity + step : (first + step) % capacity;
    const float *from = rings + ((long long)source * ring_rows + row) * dim;
    float *to = laid + (long long)blockIdx.x * dim;
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        to[i] = inside ? from[i] : 0.0f;
    if (mask && threadIdx.x == 0)
        mask[blockIdx.x] = inside ? (lost ? stand_in : 1) : (source < 0 && step == 0);
}
