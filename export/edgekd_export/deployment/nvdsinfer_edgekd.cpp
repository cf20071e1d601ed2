// Turns the output of an edgekd detector into the objects of DeepStream's nvinfer.
//
// nvinfer has no parser for YOLO heads. Two functions, one for each form the exporter writes; their
// names go into parse-bbox-func-name. Boxes are in pixels of the square network input; nvinfer
// itself takes the letterbox off again.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

struct Output {
    const float* values;
    std::size_t rows, columns;  // of one image; nvinfer has stripped the batch
};

bool read_output(const std::vector<NvDsInferLayerInfo>& layers, Output& output) {
    if (layers.size() != 1 || layers[0].buffer == nullptr || layers[0].dataType != FLOAT ||
        layers[0].inferDims.numDims != 2) {
        std::cerr << "edgekd: expected one float32 output with two dimensions an image\n";
        return false;
    }
    const NvDsInferDims& dims = layers[0].inferDims;
    output = {static_cast<const float*>(layers[0].buffer), dims.d[0], dims.d[1]};
    return true;
}

// Appends a box that has an area inside the network input and scores high enough for its class.
void add(const NvDsInferNetworkInfo& network, const NvDsInferParseDetectionParams& params,
         unsigned int class_id, float score, float x1, float y1, float x2, float y2,
         std::vector<NvDsInferObjectDetectionInfo>& objects) {
    if (class_id >= params.perClassPreclusterThreshold.size() ||
        !(score >= params.perClassPreclusterThreshold[class_id])) {  // also drops NaN
        return;
    }
    const float width = static_cast<float>(network.width);
    const float height = static_cast<float>(network.height);
    NvDsInferObjectDetectionInfo object{};  // DeepStream 9 has more members than 7
    object.classId = class_id;
    object.detectionConfidence = score;
    object.left = std::clamp(x1, 0.0f, width);
    object.top = std::clamp(y1, 0.0f, height);
    object.width = std::clamp(x2, 0.0f, width) - object.left;
    object.height = std::clamp(y2, 0.0f, height) - object.top;
    if (object.width > 0.0f && object.height > 0.0f) {  // also drops NaN
        objects.push_back(object);
    }
}

}  // namespace

// (4 + classes, anchors): centre x, centre y, width, height, then one probability a class.
// Overlapping boxes are left to nvinfer's NMS (cluster-mode=2).
extern "C" bool NvDsInferParseEdgekdRaw(const std::vector<NvDsInferLayerInfo>& layers,
                                        const NvDsInferNetworkInfo& network,
                                        const NvDsInferParseDetectionParams& params,
                                        std::vector<NvDsInferObjectDetectionInfo>& objects) {
    Output output{};
    if (!read_output(layers, output)) {
        return false;
    }
    const std::size_t anchors = output.columns;
    if (output.rows < 5 ||
        output.rows != 4 + static_cast<std::size_t>(params.numClassesConfigured)) {
        std::cerr << "edgekd: " << output.rows << " rows for num-detected-classes="
                  << params.numClassesConfigured << ", expected 4 more than classes\n";
        return false;
    }
    std::vector<float> best(output.values + 4 * anchors, output.values + 5 * anchors);
    std::vector<unsigned int> class_ids(anchors, 0);
    for (unsigned int id = 1; id < params.numClassesConfigured; ++id) {  // along rows: as in memory
        const float* scores = output.values + (4 + id) * anchors;
        for (std::size_t anchor = 0; anchor < anchors; ++anchor) {
            if (scores[anchor] > best[anchor]) {
                best[anchor] = scores[anchor];
                class_ids[anchor] = id;
            }
        }
    }
    for (std::size_t anchor = 0; anchor < anchors; ++anchor) {
        const float x = output.values[anchor], y = output.values[anchors + anchor];
        const float half_w = output.values[2 * anchors + anchor] / 2;
        const float half_h = output.values[3 * anchors + anchor] / 2;
        add(network, params, class_ids[anchor], best[anchor], x - half_w, y - half_h, x + half_w,
            y + half_h, objects);
    }
    return true;
}

// (K, 6): x1, y1, x2, y2, score, class. Nothing is left to suppress (cluster-mode=4).
extern "C" bool NvDsInferParseEdgekdEndToEnd(const std::vector<NvDsInferLayerInfo>& layers,
                                             const NvDsInferNetworkInfo& network,
                                             const NvDsInferParseDetectionParams& params,
                                             std::vector<NvDsInferObjectDetectionInfo>& objects) {
    Output output{};
    if (!read_output(layers, output)) {
        return false;
    }
    if (output.columns != 6) {
        std::cerr << "edgekd: rows of " << output.columns << " values, expected 6\n";
        return false;
    }
    for (std::size_t index = 0; index < output.rows; ++index) {
        const float* row = output.values + 6 * index;
        if (row[5] >= 0.0f) {  // a row that was only filled up may hold -1
            const auto class_id = static_cast<unsigned int>(std::lround(row[5]));
            add(network, params, class_id, row[4], row[0], row[1], row[2], row[3], objects);
        }
    }
    return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseEdgekdRaw);
CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseEdgekdEndToEnd);
